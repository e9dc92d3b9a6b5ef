"""JSON Schema of results, and the reading of arguments by their schema.

The schema of a result is made from the serializer that writes it, so that every result fits:
a number that may be NaN may be null, and a serializer that declares no type may write anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema, from_json

__all__ = ["OutputSchema", "decode_json_texts"]


class OutputSchema(GenerateJsonSchema):
    """The schema of what a serializer writes."""

    def float_schema(self, schema: core_schema.FloatSchema) -> dict[str, Any]:
        found = super().float_schema(schema)
        if schema.get("allow_inf_nan", self._config.allow_inf_nan) is False:
            return found
        written_as = "string" if self._config.ser_json_inf_nan == "strings" else "null"
        return {**found, "type": ["number", written_as]}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> dict[str, Any]:
        # Without pydantic's pattern, which does not admit an exponent.
        return {"type": "string"}

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        if schema["type"] in ("function-plain", "function-wrap") and schema.get("return_schema") is None:
            return {}
        found = super().ser_schema(schema)
        if found and str(schema.get("when_used", "")).endswith("unless-none"):
            return {"anyOf": [found, {"type": "null"}]}
        return found


def decode_json_texts(schema: Mapping[str, Any], value: Any, definitions: Mapping[str, Any] | None = None) -> Any:
    """The value with every JSON text of an object or a list decoded, where the schema admits no string.

    Models pass nested arguments as text. Text that is no such JSON stays as it is.
    """
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    branches = list(_branches(schema, definitions, frozenset()))
    if isinstance(value, str):
        if not value.lstrip().startswith(("{", "[")) or any(map(_admits_text, branches)):
            return value
        try:
            value = from_json(value)
        except ValueError:
            return value
    if isinstance(value, dict):
        return {name: decode_json_texts(_part(branches, name), item, definitions) for name, item in value.items()}
    if isinstance(value, list):
        return [decode_json_texts(_item(branches, n), item, definitions) for n, item in enumerate(value)]
    return value


def _branches(schema: Any, definitions: Mapping[str, Any], seen: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a schema, with references resolved."""
    if not isinstance(schema, Mapping):
        yield {}
        return
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        if name not in seen:
            yield from _branches(definitions.get(name, {}), definitions, seen | {name})
        return
    choices = [choice for word in ("anyOf", "oneOf", "allOf") for choice in schema.get(word, ())]
    if not choices:
        yield schema
    for choice in choices:
        yield from _branches(choice, definitions, seen)


def _admits_text(schema: Mapping[str, Any]) -> bool:
    if "enum" in schema:
        return any(isinstance(value, str) for value in schema["enum"])
    if "const" in schema:
        return isinstance(schema["const"], str)
    types = schema.get("type", "string")
    return "string" in ([types] if isinstance(types, str) else types)


def _part(branches: list[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = [branch["properties"][name] for branch in branches if name in branch.get("properties", {})]
    found = found or [branch["additionalProperties"] for branch in branches if "additionalProperties" in branch]
    return {"anyOf": found} if found else {}


def _item(branches: list[Mapping[str, Any]], n: int) -> Mapping[str, Any]:
    found = []
    for branch in branches:
        fixed = branch.get("prefixItems", ())
        if n < len(fixed):
            found.append(fixed[n])
        elif "items" in branch:
            found.append(branch["items"])
    return {"anyOf": found} if found else {}
