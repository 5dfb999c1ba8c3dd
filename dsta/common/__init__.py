"""The plumbing that every room may use. What is handed on here needs no torch; see `device` for what does."""

from dsta.common.errors import UserError, at_least, exit_code, shown
from dsta.common.files import file_sha256, replace_file, replace_files, write_npz
from dsta.common.names import composed, lookalikes_note
from dsta.common.tables import number_in, read_csv, read_json

__all__ = [
    "UserError", "at_least", "composed", "exit_code", "file_sha256", "lookalikes_note", "number_in", "read_csv",
    "read_json", "replace_file", "replace_files", "shown", "write_npz",
]  # fmt: skip
