"""The page: a video goes in, a ranked list of glosses comes out, with what the network saw beside it.

    python app.py        # http://127.0.0.1:7860

Nothing on the page is loaded from the internet, and the server keeps nothing of a video: pictures and the download
travel inside the page, and the upload is deleted at the end of its run.
"""

from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from dsta.common import UserError
from dsta.page import SCRIPTS, STYLE, panels, runs, vocabularies
from dsta.page.gate import Gate
from dsta.page.uploads import MAX_BYTES, Uploads
from leaderboard import tab as leaderboard

UPLOADS = Uploads(get_upload_folder)


def recognise(
    run: str,
    name: str,
    request: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
) -> dict[str, str]:
    """A run and a vocabulary's name -> what the page shows of it (`dsta.page.runs.outcome`)."""
    UPLOADS.claim(request.session_hash or "", run)
    return runs.outcome(UPLOADS, run, name, lambda step, share: progress(share, desc=step))


def claim(run: str, request: gr.Request) -> None:
    """A visitor waits for this run, and no longer for an earlier one."""
    UPLOADS.claim(request.session_hash or "", run)


def leave(request: gr.Request) -> None:
    """A visitor has gone, or waits for nothing any more."""
    UPLOADS.leave(request.session_hash or "")


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


def build() -> gr.Blocks:
    """The whole page; launch it with LAUNCH. The tables that gradio keeps are deleted after half an hour."""
    parts: dict[str, Any] = {}
    with gr.Blocks(title="Which sign is this?", analytics_enabled=False, delete_cache=(300, 1800)) as page:
        gr.HTML(panels.HEADER)
        with gr.Tab("Recognise"):
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    parts["choice"] = offer()
                    # Mirrored, left would be right; and to drop the sound, gradio would need ffmpeg.
                    wanted = {"audio": False, "video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}}
                    camera = gr.WebcamOptions(mirror=False, constraints=wanted)
                    parts["video"] = gr.Video(
                        show_label=False, elem_id="video", webcam_options=camera, include_audio=True
                    )
                    gr.HTML(panels.NOTICE)
                    parts["go"] = gr.Button("Recognise", variant="primary", interactive=False)
                    parts["stop"] = gr.Button("Cancel", visible=False, elem_id="stop")
                    parts["again"] = gr.Button("Another video", visible=False)
                    gr.HTML(panels.PRIVACY)
                with gr.Column(scale=3, min_width=300):
                    parts["answer"] = gr.HTML(panels.empty_html(), elem_id="result")
            parts["pictures"] = gr.HTML()
            parts["run"], parts["outcome"] = gr.Textbox(visible=False), gr.JSON(visible=False)
            parts["empty"] = gr.HTML(panels.empty_html(), visible=False)
        leaderboard.build_tab()
        with gr.Tab("About"):
            parts["about"] = gr.Markdown(panels.about_text())
            parts["signs"] = gr.HTML()
            with gr.Accordion("Model card of the weights", open=False, visible=False) as parts["fold"]:
                parts["card"] = gr.Markdown()
        _react(page, **parts)
    return page.queue(default_concurrency_limit=1, max_size=20, api_open=False)


def _react(page: gr.Blocks, **parts: Any) -> None:
    """What happens when a video is there, is asked about or taken away, and when another vocabulary is chosen.

    No video is sent as gradio sends files: the browser names the run, and what the server says of a run reaches the
    page by way of a hidden part, from where the browser shows it if that run is still waited for.
    """
    private: dict[str, Any] = {"api_visibility": "private"}
    quiet = private | {"show_progress": "hidden", "queue": False}
    video, choice, run, outcome = (parts[name] for name in ("video", "choice", "run", "outcome"))
    answer, pictures, empty = (parts[name] for name in ("answer", "pictures", "empty"))
    go, stop, again = buttons = [parts[name] for name in ("go", "stop", "again")]

    begin = [go.click, video.upload, video.stop_recording]
    anew = [answer, pictures, *buttons]
    gr.on(begin, None, empty, anew, js="empty => [empty, '', ...dsta.buttons('running')]")
    asked = gr.on(begin, None, video, run, js="video => dsta.ask(video)", trigger_mode="multiple")
    claimed = asked.then(claim, run, None, trigger_mode="multiple", **quiet)
    ran = claimed.then(recognise, [run, choice], outcome, show_progress_on=answer, trigger_mode="multiple", **private)
    ran.success(None, outcome, anew, js="outcome => dsta.show(outcome)")
    ran.failure(None, None, buttons, js="() => dsta.failed()")

    stop.click(None, None, buttons, js="() => dsta.stop('ready')", cancels=ran)
    stop.click(leave, None, None, **quiet)
    for end in (again.click, video.clear):
        end(None, empty, [video, *anew], js="empty => [null, empty, '', ...dsta.stop('empty')]", cancels=ran)
        end(leave, None, None, **quiet)
    page.unload(leave)

    described = [empty, *(parts[name] for name in ("about", "signs", "fold", "card"))]
    loaded = page.load(offer, None, choice, **quiet).then(describe_vocabulary, choice, described, **quiet)
    loaded.then(None, empty, answer, js="empty => dsta.asking || dsta.run ? [] : [empty]")
    chosen = choice.input(describe_vocabulary, choice, described, **quiet)
    start_over = "(empty, video) => [empty, '', ...dsta.stop(video ? 'ready' : 'empty')]"
    chosen.then(None, [empty, video], anew, js=start_over)


FONT = ("system-ui", "Segoe UI", "Roboto", "sans-serif")
_accents = {"button_primary_background_fill", "button_primary_background_fill_dark", "block_label_text_color"}
_accents |= {"color_accent", "loader_color"}
_theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=FONT, font_mono=FONT)
_theme.set(body_background_fill="*neutral_50", **dict.fromkeys(_accents, "*primary_700"))
LAUNCH: dict[str, Any] = {
    "theme": _theme,
    "css_paths": [STYLE, leaderboard.STYLE],
    "js": "\n".join(path.read_text(encoding="utf-8") for path in (*SCRIPTS, leaderboard.SCRIPT)),
    "max_file_size": MAX_BYTES,
    "app_kwargs": {"middleware": [Middleware(Gate, uploads=UPLOADS)]},
    "footer_links": [],
    "enable_monitoring": False,
    "ssr_mode": False,
    "run_history": False,  # gradio would keep results in the browser's storage
}
demo = build()

if __name__ == "__main__":
    demo.launch(**LAUNCH)
