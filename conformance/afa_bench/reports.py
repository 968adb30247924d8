"""Reports that go on: records replace, complete or follow those of an earlier run."""

from __future__ import annotations

from pathlib import Path

from afa_bench.records import Machine, Measurement, Record, Report
from afa_bench.results import read_report
from afa_bench.setting import from_json


def continued(report: Report, path: Path) -> Report:
    """Return a report with the records of that in a file, and the greater of their loads."""
    if not path.exists():
        return report
    earlier = read_report(path)
    loads = (each["machine"]["load_before"] for each in (report, earlier))
    load = max((load for load in loads if load is not None), default=None)
    machine: Machine = {**report["machine"], "load_before": load}
    return {**report, "machine": machine, "records": earlier["records"]}


def replace(records: list[Record], record: Record) -> None:
    """Put a record in the place of that of the same setting, or at the end."""
    index = _index(records, record)
    records[index : index + 1] = [record]


def combine(records: list[Record], record: Record) -> None:
    """Add a record to that of the same setting, of which it replaces what it has measured."""
    index = _index(records, record)
    if index < len(records):
        earlier = records[index]
        known: dict[str, Measurement] = dict(earlier["candidates"])
        for name, found in record["candidates"].items():
            if "seconds" in found or "seconds" not in known.get(name, {}):
                known[name] = found
        record = {**earlier, **record, "candidates": known}
    records[index : index + 1] = [record]


def _index(records: list[Record], record: Record) -> int:
    """Return the place of the record of the same setting, or of the end."""
    setting = from_json(record["setting"])
    settings = [from_json(each["setting"]) for each in records]
    return settings.index(setting) if setting in settings else len(records)
