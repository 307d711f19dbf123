"""A CDS Hooks service that brings a distilled medical model to the bedside and keeps it good there."""

import os
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cds-service")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""ONNX Runtime's wheels send what models run where to their maker, from 1.29 on, and keep it in ``~/.cache`` until then.
It looks here once, when it is loaded, so this stands above every import of it (github.com/microsoft/onnxruntime/pull/27379)."""
