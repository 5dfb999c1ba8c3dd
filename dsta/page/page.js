// What the page does in the browser. gradio runs this once, before the page is shown; app.py's events call these.

window.dsta = {
  // An answer is asked for. Takes and returns what the server is asked with: the video, and the vocabulary's name.
  // Before the server deletes the video, the browser takes its own copy for the player. Where the same video is to be
  // recognised once more, among other signs, it sends that copy.
  async start(video, name) {
    const player = document.querySelector("#video video");
    dsta.standStill(true);
    if (video) dsta.showResult();
    try {
      const copy = await (await fetch(player.currentSrc || player.src)).blob();
      if (player.used === video.path) return [{...video, path: await dsta.upload(video, copy)}, name];
      player.src = URL.createObjectURL(copy);
      player.used = video.path;
    } catch {
      // There is no video, or no copy can be had: the server says what is wrong.
    }
    return [video, name];
  },

  // Sends a copy of a video that the server has deleted; returns the copy's path there.
  async upload(video, copy) {
    const form = new FormData();
    form.append("files", copy, video.path.split("/").pop());
    const address = video.url.replace(/file=.*/, "upload");
    const [path] = await (await fetch(address, {method: "POST", body: form})).json();
    return path;
  },

  // Whatever asks for an answer – choice and button – stands still while one is being made.
  standStill(still) {
    document.querySelectorAll(".asks").forEach(part => part.inert = still);
  },

  // On a phone the answer lies below the video: bring it into view.
  showResult() {
    const card = document.querySelector("#result");
    if (card.getBoundingClientRect().top > innerHeight / 3) card.scrollIntoView({behavior: "smooth"});
  },
};
