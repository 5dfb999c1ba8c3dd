"""The page: a video goes in, a ranked list of glosses comes out, with what the network saw beside it.

    python app.py        # http://127.0.0.1:7860

Nothing on the page is loaded from the internet, and the server keeps nothing of a video: pictures and the download
travel inside the page, and the upload is deleted as soon as it is recognised.
"""

import logging
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from dsta.common import UserError
from dsta.page import SCRIPT, STYLE, draw, panels, vocabularies
from leaderboard import tab as leaderboard


def recognise(
    video: str | None,
    name: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
) -> tuple[str, str]:
    """A video's path and a vocabulary's name -> (answer, pictures) as HTML. A failure becomes a gr.Error; the upload is
    deleted in any case."""
    try:
        if not video:
            raise UserError("There is no video yet: choose a file, or record one with the camera, then try again.")
        if not Path(video).exists():
            raise UserError("This video has already been deleted from the server: choose or record it again.")
        among = vocabularies.vocabulary(name)
        shots = draw.Snapshots()
        result = among.recognizer().recognize(
            video, progress=lambda step, share: progress(share, desc=step), on_frame=shots.add
        )
        progress(1, desc="Drawing the skeleton")
        moving = draw.overlay(shots, result.pose)
        return panels.answer_html(result, Path(video).name, among), panels.pictures_html(result, moving)
    except UserError as error:
        message = escape(str(error), quote=False)  # gradio shows it as HTML, and it may name the user's file
        raise gr.Error(message, duration=None, title="This did not work", print_exception=False) from error
    except Exception as error:
        logging.exception("recognise failed")
        message = "Something went wrong in the program, not in your video. The server's log has the details."
        raise gr.Error(message, duration=None, title="A bug", print_exception=False) from error
    finally:
        if video and Path(video).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
            Path(video).unlink(missing_ok=True)


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
    """The whole page; launch it with LAUNCH. Files that gradio keeps are deleted after half an hour."""
    parts: dict[str, Any] = {}
    with gr.Blocks(title="Which sign is this?", analytics_enabled=False, delete_cache=(300, 1800)) as page:
        gr.HTML(panels.HEADER)
        with gr.Tab("Recognise"):
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    parts["choice"] = offer()
                    # Mirrored, left would be right; and to drop the sound, gradio would need ffmpeg.
                    camera = gr.WebcamOptions(mirror=False)
                    parts["video"] = gr.Video(
                        show_label=False, elem_id="video", webcam_options=camera, include_audio=True
                    )
                    parts["go"] = gr.Button("Recognise", variant="primary", elem_classes="asks")
                    parts["again"] = gr.Button("Another video", visible=False)
                    gr.HTML(panels.PRIVACY)
                with gr.Column(scale=3, min_width=300):
                    parts["answer"] = gr.HTML(panels.empty_html(), elem_id="result")
            parts["pictures"] = gr.HTML()
        leaderboard.build_tab()
        with gr.Tab("About"):
            parts["about"] = gr.Markdown(panels.about_text())
            parts["signs"] = gr.HTML()
            with gr.Accordion("Model card of the weights", open=False, visible=False) as parts["fold"]:
                parts["card"] = gr.Markdown()
        _react(page, **parts)
    return page.queue(default_concurrency_limit=1, max_size=20)


def _react(
    page: gr.Blocks, choice: Any, video: Any, go: Any, again: Any, answer: Any, pictures: Any, **about: Any
) -> None:
    """What happens when a video is there, is asked about or taken away, and when another vocabulary is chosen."""
    private: dict[str, Any] = {"api_visibility": "private"}
    quiet = private | {"show_progress": "hidden"}

    def buttons(used: Any) -> list[dict[str, Any]]:  # a used video is gone: offer another
        return [gr.update(visible=not used), gr.update(visible=bool(used))]

    def start(name: str, used: Any = None) -> tuple[Any, ...]:
        return describe_vocabulary(name)[0], "", *buttons(used)

    def changed(name: str) -> tuple[Any, ...]:  # the video stays: it may be recognised among other signs
        return *describe_vocabulary(name), "", *buttons(None)

    asked, ask = [video, choice], "(video, name) => dsta.start(video, name)"
    begin, to_start = [go.click, video.upload, video.stop_recording], [answer, pictures, go, again]
    run = gr.on(begin, recognise, asked, [answer, pictures], js=ask, show_progress_on=answer, **private)
    good = run.success(buttons, video, [go, again], **private)
    bad = run.failure(lambda used, name: start(name, used), asked, to_start, **private)
    good.then(None, js="() => dsta.showResult()")
    for end in (good, bad):
        end.then(None, js="() => dsta.standStill(false)")
    again.click(lambda: None, None, video, **private)
    gr.on([again.click, video.clear], start, choice, to_start, **private)
    texts = [answer, *about.values()]  # in the order of describe_vocabulary
    page.load(offer, None, choice, **quiet).then(describe_vocabulary, choice, texts, **quiet)
    choice.input(changed, choice, [*texts, pictures, go, again], **quiet)


FONT = ("system-ui", "Segoe UI", "Roboto", "sans-serif")
_accents = {"button_primary_background_fill", "button_primary_background_fill_dark", "block_label_text_color"}
_accents |= {"color_accent", "loader_color"}
_theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=FONT, font_mono=FONT)
_theme.set(body_background_fill="*neutral_50", **dict.fromkeys(_accents, "*primary_700"))
LAUNCH: dict[str, Any] = {
    "theme": _theme,
    "css_paths": [STYLE, leaderboard.STYLE],
    "js": "\n".join(path.read_text(encoding="utf-8") for path in (SCRIPT, leaderboard.SCRIPT)),
    "max_file_size": "100mb",
    "footer_links": [],
    "ssr_mode": False,
    "run_history": False,  # gradio would keep results in the browser's storage
}
demo = build()

if __name__ == "__main__":
    demo.launch(**LAUNCH)
