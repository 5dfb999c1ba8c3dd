"""The page: a video goes in, a ranked list of glosses comes out, with what the network saw beside it.

    python app.py        # http://127.0.0.1:7860

Nothing on the page is loaded from the internet, and the server keeps nothing of a video: pictures and the download
travel inside the page, and the upload is deleted at the end of its run.
"""

import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from dsta.common import UserError, exit_code
from dsta.common.lasting import lasting

with lasting():
    import gradio as gr
    from gradio.utils import get_upload_folder
    from starlette.middleware import Middleware

    from dsta.page import SCRIPTS, STYLES, lesson_panels, line, live, panels, programs, runs, share, signs, vocabularies
    from dsta.page.gate import Gate
    from dsta.page.lessons import Lessons
    from dsta.page.uploads import MAX_BYTES, Uploads
    from leaderboard import tab as leaderboard
    from leaderboard.results import OUT
    from leaderboard.table import records

UPLOADS = Uploads(get_upload_folder)
BEGUN = runs.Begun(UPLOADS)
LESSONS = Lessons(UPLOADS)
_LONGEST_NAME = 64  # of a session; those of gradio's page and clients have 36 letters at most


def _visitor(request: gr.Request) -> str:
    """Who asks: the session's name, cut, as a stranger may send any text for it."""
    return (request.session_hash or "")[:_LONGEST_NAME]


def recognise(
    run: str,
    name: str,
    part: str,
    request: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
) -> dict[str, Any]:
    """A run, a vocabulary's name and perhaps a part of the video, two numbers of seconds -> what the page shows of it
    first (`dsta.page.runs.outcomes`): the answer, or why there is none."""
    UPLOADS.claim(_visitor(request), run)
    who = request.client.host if request.client else ""

    def told(step: str, share: float) -> None:
        progress(share, desc=step)

    return BEGUN.first(run, runs.outcomes(UPLOADS, run, name, told, runs.span(part), who))


def draw(run: str) -> dict[str, Any]:
    """A run that has its answer -> what the page shows of it then: its pictures."""
    return BEGUN.rest(run)


def claim(run: str, request: gr.Request) -> None:
    """A visitor waits for this run, and no longer for an earlier one."""
    UPLOADS.claim(_visitor(request), run)
    BEGUN.sweep()


def forget_answer(nothing: None) -> None:
    """An answer is shown: gradio, which keeps what it sent each visitor last, keeps nothing of it."""


def leave(request: gr.Request) -> None:
    """A visitor has gone, or waits for nothing any more."""
    UPLOADS.leave(_visitor(request))
    BEGUN.sweep()


def teach(asked: str, name: str, request: gr.Request) -> dict[str, Any]:
    """What the tab "Teach" asks for, and a vocabulary's name -> its outcome (`dsta.page.lessons`)."""
    who = request.client.host if request.client else ""
    return LESSONS.answer(_visitor(request), asked, name, lambda step, share: None, who)


def end_lesson(request: gr.Request) -> None:
    """A visitor has gone."""
    LESSONS.leave(_visitor(request))


def describe_vocabulary(name: str) -> tuple[str, str, str, dict[str, Any], str]:
    """Of a vocabulary -> the empty answer panel, About, the list of its signs, the fold of its card, the card."""
    try:
        of = vocabularies.vocabulary(name)
        empty, signs = panels.empty_html(of), panels.signs_html(of)
    except UserError as error:
        return panels.not_ready_html(error), panels.about_text(), "", gr.update(visible=False), ""
    return empty, panels.about_text(of), signs, gr.update(visible=bool(of.card)), of.card


def offer() -> gr.Dropdown:
    """The choice of a vocabulary, of those that are there now; hidden where there is but one."""
    there = vocabularies.found()
    choices = [(one.label, name) for name, one in there.items()]
    return gr.Dropdown(
        choices, value=choices[0][1], visible=len(choices) > 1, label="Sign language", filterable=False,
        elem_id="choice", elem_classes="asks",
    )  # fmt: skip


def arrive() -> gr.Dropdown:
    """As `offer`, for somebody who has come, and will soon have a video."""
    line.LINE.begin()
    return offer()


def leaderboard_rows(dataset: str = "", protocol: str = "") -> list[dict[str, Any]]:
    """List what was measured: accuracies as fractions with their 95 % intervals, what is missing and why, and behind each row its command, commit and hashes.

    Args:
        dataset: The name of a dataset, such as WLASL100; by default all.
        protocol: What was scored, such as test; by default everything.
    """  # noqa: E501 - one line an argument, as gradio reads them
    return records(OUT, dataset, protocol)


OFFERED = programs.offered(UPLOADS) | {"leaderboard": leaderboard_rows}
_MCP = importlib.util.find_spec("mcp") is not None  # gradio's extra `mcp`


def open_to_programs(name: str, function: Callable[..., Any], queue: bool) -> None:
    """Makes a function a named endpoint and a tool of the MCP server; a user's mistake becomes gradio's error."""

    @functools.wraps(function)
    def answer(*given: Any) -> Any:
        try:
            return function(*given)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    answer.__name__ = name
    gr.api(answer, api_name=name, queue=queue)


def build() -> gr.Blocks:
    """The whole page; serve it with `launch`. The tables that gradio keeps are deleted after half an hour."""
    parts: dict[str, Any] = {}
    with gr.Blocks(title=share.TITLE, analytics_enabled=False, delete_cache=(300, 1800)) as page:
        gr.HTML(panels.HEADER)
        with gr.Tab("Recognise"):
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    parts["choice"] = offer()
                    # to drop the sound, gradio would need ffmpeg
                    parts["video"] = gr.Video(show_label=False, elem_id="video", sources=["upload"], include_audio=True)
                    gr.HTML(panels.CAMERA, padding=False)
                    parts["skeleton"] = gr.UploadButton(
                        "or a skeleton file (.npz, .pose)", file_types=panels.SKELETON_FILES, size="sm",
                        elem_id="skeleton", elem_classes="asks",
                    )  # fmt: skip
                    gr.HTML('<div id="part"></div>', elem_classes="asks")
                    parts["cut"] = gr.Button("Recognise this part", visible=False)
                    gr.HTML(panels.NOTICE)
                    parts["go"] = gr.Button("Recognise", variant="primary", interactive=False)
                    parts["stop"] = gr.Button("Cancel", visible=False, elem_id="stop")
                    parts["again"] = gr.Button("Another video", visible=False, elem_id="again")
                    gr.HTML(panels.PRIVACY)
                with gr.Column(scale=3, min_width=300):
                    parts["answer"] = gr.HTML(panels.empty_html(), elem_id="result")
            parts["pictures"] = gr.HTML()
            parts["run"], parts["part"] = gr.Textbox(visible=False), gr.Textbox(visible=False)
            parts["outcome"] = gr.JSON(visible=False)
            parts["empty"] = gr.HTML(panels.empty_html(), visible=False)
        with gr.Tab("Teach"):
            gr.HTML(lesson_panels.PANEL, padding=False)
            _ask_for_lessons(page, parts["choice"])
        leaderboard.build_tab()
        with gr.Tab("About"):
            parts["about"] = gr.Markdown(panels.about_text())
            parts["signs"] = gr.HTML()
            with gr.Accordion("Model card of the weights", open=False, visible=False) as parts["fold"]:
                parts["card"] = gr.Markdown()
            with gr.Accordion("Use it from a program", open=False):
                programs_part = gr.HTML(programs.use_html(_MCP), padding=False)
        _react(page, **parts)
        here = "use => [use.replaceAll('ADDRESS', location.href.replace(/[/]?([?#].*)?$/, ''))]"
        page.load(None, programs_part, programs_part, js=here)
        for name, function in OFFERED.items():
            open_to_programs(name, function, queue=name == "recognise")
    return page.queue(default_concurrency_limit=None, max_size=200, api_open=False)  # the line is our own


def _ask_for_lessons(page: gr.Blocks, choice: gr.Dropdown) -> None:
    """The tab "Teach" asks by a button that only its script presses, one thing after the other."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    ask = gr.Button("Ask", visible="hidden", elem_id="lesson-ask")
    asked, outcome = gr.Textbox(visible=False), gr.JSON(visible=False)
    given = ask.click(None, None, asked, js="() => dsta.lessonRequest()", trigger_mode="multiple")
    ran = given.then(teach, [asked, choice], outcome, api_name="lesson", trigger_mode="multiple", **private)
    ran.success(None, outcome, None, js="outcome => dsta.lessonAnswered(outcome)")
    ran.then(
        forget_answer, outcome, None, js="() => [null]", trigger_mode="multiple", queue=False, api_name="forget_lesson",
        **private,
    )  # fmt: skip
    ran.failure(None, None, None, js="() => dsta.lessonFailed()")
    page.unload(end_lesson)


def _react(page: gr.Blocks, **parts: Any) -> None:
    """What happens when a video is there, is asked about or taken away, and when another vocabulary is chosen.

    No video is sent as gradio sends files: the browser names the run, and what the server says of a run reaches the
    page by way of a hidden part, from where the browser shows it if that run is still waited for.
    """
    private: dict[str, Any] = {"api_visibility": "private"}
    quiet = private | {"show_progress": "hidden", "queue": False}
    video, skeleton, choice, run, outcome = (parts[n] for n in ("video", "skeleton", "choice", "run", "outcome"))
    answer, pictures, empty = (parts[name] for name in ("answer", "pictures", "empty"))
    go, stop, again, cut = buttons = [parts[name] for name in ("go", "stop", "again", "cut")]

    begin = [go.click, cut.click, video.upload, skeleton.upload]
    anew = [answer, pictures, *buttons]
    gr.on(begin, None, empty, anew, js="empty => [empty, '', ...dsta.buttons('running')]")
    ask = "(video, skeleton) => dsta.ask(dsta.choose(video, skeleton))"
    asked = gr.on(begin, None, [video, skeleton], [run, parts["part"]], js=ask, trigger_mode="multiple")
    skeleton.upload(None, None, video, js="() => null")
    claimed = asked.then(claim, run, None, trigger_mode="multiple", **quiet)
    work = private | {"trigger_mode": "multiple", "api_name": "show"}
    ran = claimed.then(recognise, [run, choice, parts["part"]], outcome, show_progress_on=answer, **work)
    told = ran.success(None, outcome, anew, js="outcome => dsta.show(outcome)")
    drawing = private | {"trigger_mode": "multiple", "show_progress": "hidden"}
    drawn = told.then(draw, run, outcome, api_name="draw", **drawing)
    drawn.success(None, outcome, pictures, js="outcome => dsta.showPictures(outcome)")
    for each in (ran, drawn):
        each.then(forget_answer, outcome, None, js="() => [null]", trigger_mode="multiple", **quiet)
    drawn.failure(None, None, pictures, js="() => ['']")
    ran.failure(None, None, buttons, js="() => dsta.failed()")

    stop.click(None, None, buttons, js="() => dsta.stop('ready')", cancels=[ran, drawn])
    stop.click(leave, None, None, **quiet)
    forget = "empty => [null, dsta.skeleton = null, empty, '', ...dsta.stop('empty')]"
    for end in (again.click, video.clear):
        end(None, empty, [video, skeleton, *anew], js=forget, cancels=[ran, drawn])
        end(leave, None, None, **quiet)
    page.unload(leave)

    described = [empty, *(parts[name] for name in ("about", "signs", "fold", "card"))]
    loaded = page.load(arrive, None, choice, **quiet).then(describe_vocabulary, choice, described, **quiet)
    loaded.then(None, empty, answer, js="empty => dsta.asking || dsta.run ? [] : [empty]")
    chosen = choice.input(describe_vocabulary, choice, described, **quiet)
    start_over = "(empty, video) => [empty, '', ...dsta.stop(dsta.choose(video) ? 'ready' : 'empty')]"
    chosen.then(None, [empty, video], anew, js=start_over)


FONT = ("system-ui", "Segoe UI", "Roboto", "sans-serif")
_accents = {"button_primary_background_fill", "button_primary_background_fill_dark", "block_label_text_color"}
_accents |= {"color_accent", "loader_color"}
_theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=FONT, font_mono=FONT)
_theme.set(body_background_fill="*neutral_50", **dict.fromkeys(_accents, "*primary_700"))
LAUNCH: dict[str, Any] = {
    "theme": _theme,
    "css_paths": [*STYLES, *leaderboard.STYLES],
    "js": "\n".join(path.read_text(encoding="utf-8") for path in (*SCRIPTS, leaderboard.SCRIPT)),
    "max_file_size": MAX_BYTES,
    "favicon_path": share.ICON,
    "footer_links": [],
    "enable_monitoring": False,
    "ssr_mode": False,
    "mcp_server": _MCP,
    "state_session_capacity": 200,  # of visitors, 0.13 MB each, or 1 MB with an answer that was not forgotten
    "run_history": False,  # gradio would keep results in the browser's storage
}
demo = build()


def launch(page: gr.Blocks, **how: Any) -> str:
    """Serves a page of `build` as LAUNCH says -> its address."""
    around = [
        Middleware(Gate, uploads=UPLOADS, calls=OFFERED, also=[LESSONS.sweep]),
        Middleware(share.Share),
        Middleware(signs.Signs),
        Middleware(live.Live),
    ]
    # gradio writes its MCP server into these arguments: shared, the next page would start an old one, and wait for ever
    return str(page.launch(**LAUNCH, app_kwargs={"middleware": around}, **how)[1])


def start() -> None:
    """Serves the page, at the port in the environment variable PORT where there is one, until it is stopped."""
    asked = os.environ.get("PORT")
    if asked is not None and not (re.fullmatch("[0-9]{1,5}", asked) and 0 < int(asked) < 2**16):
        raise UserError(f"PORT is {asked}: set a number from 1 to 65535, or leave it out.")
    try:
        launch(demo, server_port=int(asked) if asked else None)
    except OSError as error:
        if "empty port" not in str(error):  # gradio's words for ports that are taken
            raise
        raise UserError(f"Port {asked or '7860 and those after it'} is taken: set PORT to a free one.") from error


if __name__ == "__main__":
    sys.exit(exit_code(start))
