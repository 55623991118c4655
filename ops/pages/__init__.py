"""The pages of docs/ that are made from the code: name of the file → what makes its text."""

from ops.pages import api_reference, command_line, configuration, errors, python_reference

PAGES = {
    "api-reference.md": api_reference.page,
    "cli.md": command_line.page,
    "configuration.md": configuration.page,
    "errors.md": errors.page,
    "python-reference.md": python_reference.page,
}
