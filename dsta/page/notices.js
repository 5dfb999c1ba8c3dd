// What the page says, in a sentence, where gradio would say "Error" or nothing: of files, of players, of the camera.

Object.assign(window.dsta, {
  // A sentence below the video, or none. As long as there is one, gradio's own words are hidden.
  notice(sentence) {
    document.querySelector("#notice")?.replaceChildren(sentence);
  },

  // A file that is chosen or dropped -> a sentence why it is not sent, or "".
  refusal(file) {
    const most = window.gradio_config?.max_file_size ?? Infinity;
    if (file.size > most) return `The video is larger than ${Math.round(most / 2 ** 20)} MB: send a shorter one.`;
    if (!file.size) return `${file.name} is empty: choose another video.`;
    if (file.type.startsWith("video/") || dsta.untyped(file)) return "";
    return `${file.name} is not a video: choose an mp4, mov, webm, mkv or avi file.`;
  },

  // Whether it is a video by its name alone: not every system knows every kind of file.
  untyped: file => !file.type && /\.(mp4|m4v|mov|webm|mkv|avi|mpe?g|m?ts|wmv|flv|3gp|ogv)$/i.test(file.name),

  // The browser cannot play the video: a quiet sentence stands in the player's place, later its picture.
  standIn(player) {
    const box = document.querySelector("#video");
    if (!box.dataset.unplayable) {
      const figure = document.createElement("figure");
      figure.id = "stand-in";
      figure.textContent = "Your browser cannot play this video. The program may read it all the same: "
        + "its picture, with the skeleton, then appears here.";
      player.closest(".wrap").before(figure);
    }
    box.dataset.unplayable = true;
  },

  // The player is wanted again, for another video.
  noStandIn() {
    document.querySelector("#stand-in")?.remove();
    delete document.querySelector("#video").dataset.unplayable;
  },

  // The pictures of an answer -> those that are left when the moving one has taken the player's place, where it has to.
  seat(pictures) {
    const place = document.querySelector("#stand-in");
    if (!place) return pictures;
    const all = document.createElement("template");
    all.innerHTML = pictures;
    const moving = all.content.querySelector("figure:not(.strip)");
    place.replaceChildren(...moving?.querySelectorAll("picture") ?? ["There is no picture of this video."]);
    moving?.remove();
    return all.innerHTML;
  },

  cameraTrouble: {
    NotAllowedError: "The camera was not allowed. Allow it for this page, in the browser’s address bar or the system’s "
      + "settings, and press once more; or upload a file.",
    NotFoundError: "No camera was found. Connect one and press once more; or upload a file.",
    NotReadableError: "The camera is taken by another program. Close that and press once more; or upload a file.",
    insecure: "Browsers give the camera only to pages whose address is secure, or on the same computer: upload a file.",
    mute: "This browser cannot record: upload a file.",
    gone: "The camera is gone. Connect it and press once more; or upload a file.",
  },

  // Opens the camera, or says why not.
  async openCamera(open, wishes) {
    dsta.notice("");
    try {
      if (!open) throw {name: "insecure"};
      if (!window.MediaRecorder) throw {name: "mute"};
      const stream = await open(wishes);
      stream.getVideoTracks()[0].onended = () => dsta.notice(dsta.cameraTrouble.gone);
      return stream;
    } catch (error) {
      const alike = {OverconstrainedError: "NotFoundError", AbortError: "NotReadableError"}[error.name] ?? error.name;
      dsta.notice(dsta.cameraTrouble[alike] ?? `The camera cannot be opened (${error.name}): upload a file.`);
      return dsta.never;
    }
  },

  // Calls back once the page has the part.
  whenThere(selector, act) {
    const part = document.querySelector(selector);
    if (part) return act(part);
    const observer = new MutationObserver(() => {
      const found = document.querySelector(selector);
      if (!found) return;
      observer.disconnect();
      act(found);
    });
    observer.observe(document.body, {childList: true, subtree: true});
  },
});

{
  const devices = navigator.mediaDevices ?? {enumerateDevices: async () => []};
  const open = devices.getUserMedia?.bind(devices);
  devices.getUserMedia = wishes => dsta.openCamera(open, wishes);
  dsta.camera = open;  // the browser's own
  if (!navigator.mediaDevices) Object.defineProperty(navigator, "mediaDevices", {value: devices});

  // Before gradio hears of it: files are looked at, and players' errors caught.
  const first = (kind, selector, act) => document.addEventListener(kind, event => {
    if (event.target.matches?.(selector)) act(event, event.target);
  }, true);

  const take = (event, files) => {
    if (!files.length) return;
    const stop = () => (event.preventDefault(), event.stopPropagation());
    const sentence = files.length > 1 ? "One video at a time: choose a single file." : dsta.refusal(files[0]);
    dsta.notice(sentence);
    if (sentence) return stop();
    if (!dsta.untyped(files[0])) return;
    stop();
    const input = document.querySelector("#video input[type=file]"), typed = new DataTransfer();
    typed.items.add(new File(files, files[0].name, {type: "video/mp4"}));
    input.files = typed.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  };
  first("change", "#video input[type=file]", (event, input) => take(event, input.files));
  first("drop", "#video *", event => take(event, event.dataTransfer.files));

  const player = "#video [data-testid=test-player]";
  first("error", player, (event, video) => {
    event.stopPropagation();
    dsta.standIn(video);
  });
  first("loadedmetadata", player, (_, video) => {  // sound without a picture is no error to a browser
    if (!video.videoWidth) dsta.standIn(video);
  });
}
