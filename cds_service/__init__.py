"""A CDS Hooks service that brings a distilled medical model to the bedside and keeps it good there."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cds-service")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"
