"""What programs may ask the page for: the functions behind its named endpoints, which are also the tools of its MCP
server (docs/api.md). `app.py` offers them; their docstrings are what clients and agents are told."""

from collections.abc import Callable
from html import escape
from typing import Any

from dsta.common import UserError
from dsta.page import runs, vocabularies
from dsta.page.uploads import Uploads, run_of
from dsta.recognize import as_dict

CURL = """\
page=ADDRESS
file=$(curl -s -F files=@sign.mp4 $page/gradio_api/upload | tr -d '[]')
run=$(curl -s --json "{\\"file\\": $file}" $page/gradio_api/call/v2/recognise | cut -d'"' -f4)
curl -sN $page/gradio_api/call/v2/recognise/$run
"""
PYTHON = """\
from gradio_client import Client, handle_file

page = Client("ADDRESS")
answer = page.predict(file=handle_file("sign.mp4"), top_k=5, api_name="/recognise")
print(answer["predictions"][0]["gloss"])
"""
MCP = """\
{"mcpServers": {"signs": {"url": "ADDRESS/gradio_api/mcp/"}}}
"""
_WHO = "programs"  # in the line all programs together have the places that one visitor's address has


def use_html(with_mcp: bool) -> str:
    """How to call the endpoints; the browser puts the page's own address in the place of ADDRESS."""
    parts = [("On the command line, with curl", CURL), ("In Python, after pip install gradio_client", PYTHON)]
    if with_mcp:
        parts.append(("For an agent, as an MCP server; files go to /gradio_api/upload first, as above", MCP))
    part = '<p>{}:</p><pre class="program"><code>{}</code></pre>'
    return "".join(part.format(title, escape(text)) for title, text in parts)


def offered(uploads: Uploads) -> dict[str, Callable[..., Any]]:
    """Name of an endpoint -> its function, which raises UserError for what it refuses."""

    def recognise(file: str = "", vocabulary: str = "", top_k: int = 5) -> dict[str, Any]:
        """Recognise the one sign in a video, or in a skeleton file (.npz, .pose). Returns the closest glosses by falling score, the same of each stream alone, and the quality of the input: where "confident" is false, "notes" says why. The upload is deleted.

        Args:
            file: What POST /gradio_api/upload (form field files) answered: your upload's path on the server, or an address that ends in it. No other file or address is read.
            vocabulary: The name of a vocabulary, as the endpoint vocabulary lists them; by default American signs.
            top_k: How many glosses to return.
        """  # noqa: E501 - one line an argument, as gradio reads them
        return recognised_upload(uploads, file, vocabulary, top_k)

    def vocabulary(vocabulary: str = "") -> dict[str, Any]:
        """List the glosses that can be recognised, the sign language that they are of, and the names of all vocabularies.

        Args:
            vocabulary: The name of a vocabulary; by default the first one, of American signs.
        """  # noqa: E501
        return signs_of(vocabulary)

    return {"recognise": recognise, "vocabulary": vocabulary}


def recognised_upload(uploads: Uploads, file: str, vocabulary: str, top_k: int) -> dict[str, Any]:
    """Recognises an upload -> what `python -m dsta.recognize --json` prints of it, and deletes it. Raises UserError.

    file: the upload's path, or an address that ends in it. No more of it is used than the name of the run: no file is
    opened under a path from outside, and no address is fetched.
    """
    run = run_of(file) if isinstance(file, str) else ""
    if not run:
        raise UserError("This is no upload: send the file to /gradio_api/upload, and give the path that comes back.")
    try:
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
            raise UserError("top_k is a whole number from 1 on, such as 5.")
        among = _folder(vocabulary)
    except UserError:
        uploads.delete(run)
        raise

    def said(found: runs.Answered) -> dict[str, Any]:
        return as_dict(found.file, found.result, top_k)

    return runs.carry_out(uploads, run, among, lambda step, share: None, said, who=_WHO)


def signs_of(vocabulary: str) -> dict[str, Any]:
    """A vocabulary's name, language and glosses, and the names of all vocabularies. Raises UserError."""
    among = vocabularies.vocabulary(_folder(vocabulary))
    return {
        "vocabulary": among.folder.name,
        "language": f"{among.kind} Sign Language" if among.kind else "",
        "glosses": sorted(among.recognizer().glosses, key=str.casefold),
        "vocabularies": list(vocabularies.found()),
    }


def _folder(vocabulary: str) -> str:
    """The folder's name, of "" the default's. Raises UserError where there is no such vocabulary."""
    there = list(vocabularies.found())
    if not vocabulary:
        return there[0]
    if vocabulary not in there:
        raise UserError(f"There is no such vocabulary; there is {', '.join(there)}.")
    return vocabulary
