"""The CDS Hooks contract test: tables and runner, over HTTP only."""

from cds_service.contract.report import Finding, Report, print_table
from cds_service.contract.runner import run_contract

__all__ = ["Finding", "Report", "print_table", "run_contract"]
