// What the page does in the browser. gradio runs this once, before the page is shown; app.py's events call these.
//
// A run is one upload that is recognised once: the name of the upload's folder. What the server says of a run is shown
// where that run is still the one that the visitor waits for, and nowhere else.

window.dsta = {
  run: null,  // what the visitor waits for or looks at
  asking: null,  // the video that is being asked about

  // The buttons Recognise, Cancel and Another video, and whatever else asks for an answer.
  buttons(state) {
    const seen = {empty: 0, ready: 0, running: 1, answered: 2}[state];
    document.querySelectorAll(".asks").forEach(part => part.inert = state === "running");
    const updates = [0, 1, 2].map(place => ({__type__: "update", visible: place === seen}));
    updates[0].interactive = state === "ready";
    return updates;
  },

  // An answer is asked for -> the run to ask about. Before the server deletes the video, the browser takes its own copy
  // for the player; where the same video is recognised once more, it sends that copy. Who presses twice asks once.
  async ask(video) {
    if (dsta.asking?.path === video?.path) return dsta.never;
    dsta.asking = video;
    dsta.run = null;
    dsta.showResult();
    dsta.notice("");
    dsta.announce("The video is being recognised.");
    let path = video.path;
    try {
      const player = document.querySelector("#video video");
      const copy = await (await fetch(player.currentSrc || player.src)).blob();
      if (player.used === path) path = await dsta.upload(video, copy);
      else {
        player.src = URL.createObjectURL(copy);
        player.used = path;
      }
    } catch {
      // No copy can be had: the server says what is wrong.
    }
    if (dsta.asking !== video) return dsta.never;  // meanwhile the visitor has changed their mind
    dsta.run = path.split(/[/\\]/).at(-2);
    return dsta.run;
  },

  never: new Promise(() => {}),  // what follows in a chain of events does not happen

  // Sends a copy of a video that the server has deleted; returns the copy's path there.
  async upload(video, copy) {
    const form = new FormData();
    form.append("files", copy, video.path.split(/[/\\]/).pop());
    const address = video.url.replace(/file=.*/, "upload");
    const [path] = await (await fetch(address, {method: "POST", body: form})).json();
    return path;
  },

  // The outcome of a run -> answer, pictures, buttons.
  show(outcome) {
    if (!dsta.asking || outcome.run !== dsta.run) return [];
    dsta.asking = null;
    dsta.tell();
    const pictures = dsta.seat(outcome.pictures ?? "");
    if (outcome.problem) return [outcome.problem, "", ...dsta.buttons("ready")];
    return [outcome.answer, pictures, ...dsta.buttons("answered")];
  },

  // A run never came to an outcome -> buttons. Mostly it is known why: the server is gone, or too many wait.
  failed() {
    if (!dsta.asking) return [];  // the visitor cancelled it
    dsta.asking = null;
    if (!document.querySelector("#notice").textContent) dsta.notice("The program could not answer: try once more.");
    return dsta.buttons("ready");
  },

  // The visitor wants no answer any more -> buttons.
  stop(state) {
    dsta.asking = dsta.run = null;
    dsta.announce("");
    if (state === "empty") {
      dsta.notice("");
      dsta.noStandIn();
    }
    return dsta.buttons(state);
  },

  // On a phone the answer lies below the video: bring it into view.
  showResult() {
    const card = document.querySelector("#result");
    if (card.getBoundingClientRect().top > innerHeight / 3) card.scrollIntoView({behavior: "smooth"});
  },
};
