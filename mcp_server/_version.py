"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_version"]


def package_version() -> str:
    try:
        return version("mcp-long-tasks")
    except PackageNotFoundError:
        return "0+unknown"
