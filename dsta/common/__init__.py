"""The plumbing that every room may use. What is handed on here needs no torch; see `device` for what does."""

from dsta.common.errors import UserError, at_least, exit_code
from dsta.common.files import file_sha256, read_json, replace_file, replace_files, write_npz

__all__ = [
    "UserError", "at_least", "exit_code", "file_sha256", "read_json", "replace_file", "replace_files", "write_npz",
]  # fmt: skip
