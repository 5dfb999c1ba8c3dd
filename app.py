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
from dsta.page import draw, vocabularies
from dsta.page.panels import ABOUT, EMPTY, HEADER, PRIVACY, answer_html, counted, pictures_html
from dsta.page.vocabularies import Vocabulary
from dsta.video import read_frames
from leaderboard import tab as leaderboard

PICTURE_SIDE = 480  # longest side of the moving picture, in pixels


CSS = """
.dark { --color-accent: #2dd4bf; --loader-color: #2dd4bf } .html-container { padding: 0 !important }
.gradio-container { max-width: 1120px !important; margin: 0 auto !important }
header h1 { font-size: 1.7rem; margin: 0 0 .2rem } header p { max-width: 46rem; margin: 0 }
header p, .quiet, figcaption, .legend, .card small { color: var(--body-text-color) !important; opacity: .75; margin: 0 }
.small, figcaption, .legend, .chips span { font-size: .85rem !important } .legend i { display: inline-block }
.card { padding: 1.2rem; background: var(--block-background-fill); overflow-wrap: anywhere }
.card, #video { border: 1px solid var(--border-color-primary) !important; border-radius: 12px }
.card h2 { font-size: 2rem; line-height: 1.2; margin: 0 0 .6rem } .card h3 { margin: 0 }
.card ul { margin: .6rem 0 1rem; padding-left: 1.2rem; list-style: disc } .card ul li { margin: .35rem 0 }
.card ol { list-style: none; margin: 0; padding: 0 } .card ol b { font-weight: 400; padding-right: 1rem }
.card ol li { position: relative; display: flex; justify-content: space-between; padding-bottom: .6rem }
.card ol li { margin: 0 0 .3rem } .card ol li:first-child b { font-weight: 700 } .card ol span { white-space: nowrap }
.card ol li::after, .card ol i { content: ""; position: absolute; left: 0; bottom: 0; height: 6px; width: 100%;
  border-radius: 3px; background: var(--border-color-primary) }
.card ol i { background: var(--color-accent); z-index: 1; min-width: 3px } .unsure ol i { background: #7d8894 }
.note { padding: .5rem .8rem; border-left: 4px solid #d9922b; background: rgba(217, 146, 43, .12) }
.chips, .legend, .pictures { display: flex; flex-wrap: wrap; gap: .4rem; margin: .8rem 0 }
.chips span { padding: .1rem .6rem; border: 1px solid var(--border-color-primary); border-radius: 99px }
.pictures { gap: 1rem; margin: 0; align-items: flex-start } .pictures figure { margin: 0; flex: 1 1 260px }
.pictures img { width: 100%; border-radius: 8px; display: block; margin: 0; max-height: 34rem; object-fit: contain }
.pictures .strip { flex: 2 1 520px } .legend { gap: .2rem 1rem; margin: .8rem 0 0 }
figcaption { margin-top: .4rem !important } .note { margin: .8rem 0 0 !important }
.legend i { width: .75rem; height: .75rem; border-radius: 50%; margin-right: .35rem }
.card summary { cursor: pointer; font-weight: 500 } .card table { width: 100%; table-layout: fixed; margin: .5rem 0 }
.card table, .card tr, .card td, .card th { border: 0 !important; padding: .25rem .3rem .25rem 0 !important;
  text-align: left; vertical-align: top } .card td small { display: block }
.card a, .prose a { color: var(--color-accent) !important; margin: 0 !important } .card details { margin: .8rem 0 }
#result .wrap:not(.hide) { background: var(--block-background-fill) !important; opacity: 1; border-radius: 12px;
  min-height: max(100%, 10rem); justify-content: flex-start; padding-top: 3.5rem !important }
#video:not(:has(video)) { min-height: 300px } #video video { max-height: 320px }
#video .source-selection button { width: auto; padding: 0 .5rem; display: flex; gap: .4rem; align-items: center }
#video .source-selection button::after { content: attr(aria-label); font-size: .85rem; white-space: nowrap }
#video .source-selection button:not(.selected) { color: var(--body-text-color) }
#choice, #choice .container, #choice span { background: none; border: 0; padding: 0; margin: 0 }
.form:has(#choice) { background: none; border: 0; box-shadow: none; overflow: visible }
#choice .container { display: flex; align-items: center; gap: .8rem } #choice span { color: var(--body-text-color) }
#choice input { height: 42px; margin: 0; padding-right: 1.4rem; text-overflow: ellipsis }
#choice .wrap-inner { padding: 0 .6rem 0 .3rem }
#choice .container .wrap { flex: 1; background: var(--block-background-fill); border-radius: 12px;
  border: 1px solid var(--border-color-primary); box-shadow: none } .asks[inert] { opacity: .5 }
#video button[aria-label="Trim video to selection"] { display: none } /* it would load ffmpeg from a foreign server */
"""
# On a phone the result lies below the video: bring it into view.
SHOW_RESULT = """() => { const card = document.querySelector("#result");
  if (card.getBoundingClientRect().top > innerHeight / 3) card.scrollIntoView({behavior: "smooth"}); }"""
# Before the server deletes the video, the browser takes its own copy for the player. Where the same video is to be
# recognised once more, with other signs, it sends that copy. Meanwhile the choice stands still.
ON_START = f"""async (video, name) => {{ const player = document.querySelector("#video video");
  document.querySelectorAll(".asks").forEach(part => part.inert = true);
  if (video) ({SHOW_RESULT})();
  try {{ const copy = await (await fetch(player.currentSrc || player.src)).blob();
    if (player.used === video.path) {{ const form = new FormData();
      form.append("files", copy, video.path.split("/").pop());
      const [path] = await (await fetch(video.url.replace(/file=.*/, "upload"), {{method: "POST", body: form}})).json();
      return [{{...video, path}}, name]; }}
    player.src = URL.createObjectURL(copy); player.used = video.path; }} catch {{}}
  return [video, name]; }}"""
ON_END = '() => document.querySelectorAll(".asks").forEach(part => part.inert = false)'


def vocabulary(name: str) -> Vocabulary:
    """The vocabulary of the folder `name` in weights/. Raises UserError where there is none."""
    try:
        return vocabularies.found()[name]
    except KeyError as error:
        raise UserError(f"The weights {name} are no longer there: open the page again and choose others.") from error


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
        among = vocabulary(name)
        result = among.recognizer().recognize(video, progress=lambda step, share: progress(share, desc=step))
        progress(1, desc="Drawing the skeleton")
        frames = read_frames(video, fps=result.pose.fps, max_side=PICTURE_SIDE)
        moving = draw.overlay(((frame.time, frame.image) for frame in frames), result.pose)
        return answer_html(result, Path(video).name, among), pictures_html(result, moving)
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
        among = vocabulary(name)
        glosses = sorted(among.recognizer().glosses, key=str.casefold)
    except UserError as error:
        empty = f'<div class="card"><h3>Not ready yet</h3><p>{escape(str(error))}</p></div>'
        return empty, ABOUT.format(""), "", gr.update(visible=False), ""
    signs, words = counted(len(glosses), among), "".join(f"<span>{escape(gloss)}</span>" for gloss in glosses)
    words = f'<p class="chips">{words}</p>'
    empty = EMPTY.format(f"<details><summary>The {signs} it knows</summary>{words}</details>")
    about = ABOUT.format(f" of {among.kind} Sign Language" if among.kind else "")
    card = among.card
    return empty, about, f"<h3>The {signs} it knows</h3>{words}", gr.update(visible=bool(card)), card


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
    private: dict[str, Any] = {"api_visibility": "private"}
    quiet = private | {"show_progress": "hidden"}
    with gr.Blocks(title="Which sign is this?", analytics_enabled=False, delete_cache=(300, 1800)) as page:
        gr.HTML(HEADER)
        with gr.Tab("Recognise"):
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    choice = offer()
                    # Mirrored, left would be right; and to drop the sound, gradio would need ffmpeg.
                    camera = gr.WebcamOptions(mirror=False)
                    video = gr.Video(show_label=False, elem_id="video", webcam_options=camera, include_audio=True)
                    go = gr.Button("Recognise", variant="primary", elem_classes="asks")
                    again = gr.Button("Another video", visible=False)
                    gr.HTML(PRIVACY)
                with gr.Column(scale=3, min_width=300):
                    answer = gr.HTML(EMPTY.format(""), elem_id="result")
            pictures = gr.HTML()
        leaderboard.build_tab()
        with gr.Tab("About"):
            about = gr.Markdown(ABOUT.format(""))
            signs = gr.HTML()
            with gr.Accordion("Model card of the weights", open=False, visible=False) as fold:
                card = gr.Markdown()

        def buttons(used: Any) -> list[dict[str, Any]]:  # a used video is gone: offer another
            return [gr.update(visible=not used), gr.update(visible=bool(used))]

        def start(name: str, used: Any = None) -> tuple[Any, ...]:
            return describe_vocabulary(name)[0], "", *buttons(used)

        asked, panels, begin = [video, choice], [answer, pictures], [go.click, video.upload, video.stop_recording]
        run = gr.on(begin, recognise, asked, panels, js=ON_START, show_progress_on=answer, **private)
        good = run.success(buttons, video, [go, again], **private)
        bad = run.failure(lambda used, name: start(name, used), asked, [*panels, go, again], **private)
        good.then(None, js=SHOW_RESULT)
        for end in (good, bad):
            end.then(None, js=ON_END)
        again.click(lambda: None, None, video, **private)
        gr.on([again.click, video.clear], start, choice, [*panels, go, again], **private)
        texts = [answer, about, signs, fold, card]
        page.load(offer, None, choice, **quiet).then(describe_vocabulary, choice, texts, **quiet)
        # The video stays: it may be recognised among other signs.
        choice.input(
            lambda name: (*describe_vocabulary(name), "", *buttons(None)),
            choice,
            [*texts, pictures, go, again],
            **quiet,
        )
    return page.queue(default_concurrency_limit=1, max_size=20)


FONT = ("system-ui", "Segoe UI", "Roboto", "sans-serif")
_accents = {"button_primary_background_fill", "button_primary_background_fill_dark", "block_label_text_color"}
_accents |= {"color_accent", "loader_color"}
_theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=FONT, font_mono=FONT)
_theme.set(body_background_fill="*neutral_50", **dict.fromkeys(_accents, "*primary_700"))
LAUNCH: dict[str, Any] = {"theme": _theme, "css": CSS + leaderboard.CSS, "max_file_size": "100mb"}
LAUNCH |= {"footer_links": [], "ssr_mode": False}
LAUNCH["run_history"] = False  # gradio would keep results in the browser's storage
demo = build()

if __name__ == "__main__":
    demo.launch(**LAUNCH)
