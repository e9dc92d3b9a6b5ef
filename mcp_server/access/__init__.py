"""Access: the identity of a caller, and the operations that it may ask for.

    principal   owner and scopes of one request's sender; the table of operation and scope
    keys        keys of our own: made, listed, revoked, verified
    tokens      access tokens (JWT) of an issuer
    tickets     signed addresses with which a browser follows one task

What these say is enforced in two places: `engine` asks the principal before it acts,
and `edge` turns a request's credentials into a principal.
"""
