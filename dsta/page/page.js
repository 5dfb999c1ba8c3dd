// What the page does in the browser. gradio runs this once, before the page is shown; app.py's events call these.
//
// A run is one upload that is recognised once: the name of the upload's folder. What the server says of a run is shown
// where that run is still the one that the visitor waits for, and nowhere else.

window.dsta = {
  run: null,  // what the visitor waits for or looks at
  asking: null,  // the video that is being asked about
  part: null,  // of a long video: its path, the start and end of the part, in seconds
  skeleton: null,  // the skeleton file that was given last, and the browser's copy of it

  // The buttons Recognise, Cancel, Another video and Recognise this part, and whatever else asks for an answer.
  buttons(state) {
    const seen = {empty: 0, ready: 0, running: 1, answered: 2}[state];
    document.querySelectorAll(".asks").forEach(part => part.inert = state === "running");
    const updates = [0, 1, 2].map(place => ({__type__: "update", visible: place === seen}));
    updates[0].interactive = state === "ready";
    return [...updates, {__type__: "update", visible: Boolean(dsta.part && seen % 2 === 0)}];
  },

  // What is asked about: a skeleton file that has just been given, else the video, else that skeleton file once more.
  choose(video, skeleton) {
    if (skeleton && skeleton.path !== dsta.skeleton?.path) return dsta.skeleton = skeleton;
    return video ?? dsta.skeleton;
  },

  // An answer is asked for -> the run to ask about, and the part of a long video. Before the server deletes the video,
  // the browser takes its own copy
  // for the player; where the same video is recognised once more, it sends that copy. Who presses twice asks once.
  async ask(video) {
    if (dsta.asking?.path === video?.path) return dsta.never;
    dsta.asking = video;
    dsta.run = null;
    if (dsta.part?.path !== video?.path) dsta.showPart(null);
    dsta.showResult();
    dsta.notice("");
    dsta.announce("The video is being recognised.");
    let path = video.path;
    try {
      const player = video === dsta.skeleton ? video : document.querySelector("#video video");
      const copy = await (await fetch(player.currentSrc || player.src || player.url)).blob();
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
    return [dsta.run, dsta.part ? `${dsta.part.start} ${dsta.part.end}` : ""];
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

  // The outcome of a run -> answer, what keeps the place of its pictures, buttons.
  show(outcome) {
    if (!dsta.asking || outcome.run !== dsta.run) return [];
    if (outcome.part) dsta.showPart(outcome.part, dsta.asking.path);
    dsta.asking = null;
    dsta.tell();
    if (outcome.problem) return [outcome.problem, dsta.seat(""), ...dsta.buttons("ready")];
    return [outcome.answer, '<div class="card drawing" aria-hidden="true"></div>', ...dsta.buttons("answered")];
  },

  // Then come the pictures of a run -> pictures.
  showPictures(outcome) {
    return "pictures" in outcome && outcome.run === dsta.run ? [dsta.seat(outcome.pictures)] : [];
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
      dsta.showPart(null);
      dsta.notice("");
      dsta.noStandIn();
    }
    return dsta.buttons(state);
  },

  // The handles of a long video's part, or none.
  showPart(html, path) {
    const place = document.querySelector("#part");
    place.innerHTML = html ?? "";
    dsta.part = html ? {path} : null;
    if (html) dsta.movePart(place.querySelector("input"), false);
  },

  // A handle was moved: the other one keeps half a second to ten away from it, and the player shows where it is.
  movePart(moved, seek = true) {
    const [start, end] = moved.parentNode.querySelectorAll("input");
    const most = Number(end.max), at = Number(moved.value);
    const within = (value, low, high) => Math.min(Math.max(value, low), high);
    if (moved === start) {
      start.value = Math.min(at, most - 0.5);
      end.value = within(Number(end.value), Number(start.value) + 0.5, Number(start.value) + 10);
    } else {
      end.value = Math.max(at, 0.5);
      start.value = within(Number(start.value), Number(end.value) - 10, Number(end.value) - 0.5);
    }
    Object.assign(dsta.part, {start: Number(start.value), end: Number(end.value)});
    const words = [start, end].map(each => Number(each.value).toFixed(1));
    [start, end].forEach((each, place) => each.setAttribute("aria-valuetext", `${words[place]} seconds`));
    moved.closest(".card").querySelector("output").textContent = `${words[0]} – ${words[1]} s of ${most.toFixed(0)} s`;
    moved.parentNode.style.setProperty("--from", start.value / most);
    moved.parentNode.style.setProperty("--to", end.value / most);
    const player = document.querySelector("#video video");
    if (seek && player) player.currentTime = Number(moved.value);
  },

  // Takes away what is shown, if anything is.
  async empty() {
    const again = [...document.querySelectorAll("#again, #stop")].find(button => button.checkVisibility());
    again?.click();
    document.querySelector("#video [aria-label='Clear']")?.click();
    await new Promise(done => dsta.whenThere("#video input[type=file]", done));
  },

  // Skeleton files that are given otherwise than by their button.
  give(files) {
    const field = document.querySelector("input[type=file][accept*=npz]");
    field.files = files;
    field.dispatchEvent(new Event("change", {bubbles: true}));
  },

  // On a phone the answer lies below the video: bring it into view.
  showResult() {
    const card = document.querySelector("#result");
    if (card.getBoundingClientRect().top > innerHeight / 3) card.scrollIntoView({behavior: "smooth"});
  },
};

// One of several signs in a video is chosen: the player goes there, and comes into view.
document.addEventListener("click", event => {
  const sign = event.target.closest?.("[data-seek]"), player = document.querySelector("#video video");
  if (!sign || !player) return;
  player.currentTime = Number(sign.dataset.seek);
  player.scrollIntoView({behavior: "smooth", block: "nearest"});
});
document.addEventListener("input", event => event.target.matches("#part input") && dsta.movePart(event.target));
// A skeleton file may be dropped where videos are, whose field takes nothing else.
document.addEventListener("drop", event => {
  const [file] = event.dataTransfer?.files ?? [];
  if (!event.target.closest("#video") || !/\.(npz|pose)$/i.test(file?.name ?? "")) return;
  event.preventDefault();
  event.stopImmediatePropagation();  // nor is it looked at as a video
  dsta.give(event.dataTransfer.files);
}, true);
