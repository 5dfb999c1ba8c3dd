// The camera for one person alone: a click, 3-2-1, three seconds, an answer; or live, sign after sign.
//
// While the camera is open, small pictures go to the program one at a time, the next when the last was answered; it says
// where the joints are, how to stand, whether the hands rest, and of a live sign what it was (live.py).
{
  const SECONDS = 3, SIDE = 480;  // of a recording; pixels of a picture that is looked at
  const LOOKS = {record: 250, live: 0};  // milliseconds from an answer to the next picture
  const rest = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  let open = null;  // the stream, the mode, a number of its own, and what was said of the last picture
  let turn = 0;  // goes up with each press, so that of two presses the last one's camera alone stays

  const part = selector => document.querySelector(`#camera ${selector}`);
  const hint = sentence => part(".hint").textContent === sentence || part(".hint").replaceChildren(sentence);

  async function start(mode) {
    close();
    const mine = turn;
    await dsta.empty();
    const wishes = {audio: false, video: {width: {ideal: 1280}, height: {ideal: 720}, facingMode: "user"}};
    const stream = await navigator.mediaDevices.getUserMedia(wishes);
    if (mine !== turn) return stream.getTracks().forEach(track => track.stop());
    const who = crypto.getRandomValues(new Uint32Array(2)).join("");
    const camera = open = {stream, mode, who, said: {}, begun: performance.now(), looked: 0};
    const preview = part("video");
    preview.srcObject = stream;
    document.querySelector("#camera").dataset.mode = mode;
    part("[data-camera=close]").focus();
    hint(mode === "live" ? "Sign, then let your hands rest." : "");
    await preview.play();
    part(".stage").scrollIntoView({behavior: "smooth", block: "nearest"});
    stream.getVideoTracks()[0].addEventListener("ended", () => open === camera && close(false));
    look(camera);
    if (mode === "record") record(camera);
  }

  const address = ({who}, more) => `${window.gradio_config.root}/live?${new URLSearchParams({who, ...more})}`;

  // dropped: what is being recorded is not wanted, as somebody closed the camera.
  function close(dropped = true) {
    turn++;
    if (open) {
      open.dropped = dropped;
      navigator.sendBeacon(address(open, {time: 0, mode: "leave"}));
      open.stream.getTracks().forEach(track => track.stop());
    }
    open = null;
    delete document.querySelector("#camera").dataset.mode;
    part("video").srcObject = null;
    part(".count").textContent = "";
    hint("");
  }

  async function record(camera) {
    for (const number of [3, 2, 1]) {
      part(".count").textContent = number;
      dsta.announce(String(number));
      await rest(1000);
      if (open !== camera) return;
    }
    part(".count").textContent = "";
    part(".stage").classList.add("recording");
    const recorder = new MediaRecorder(camera.stream), pieces = [];
    recorder.ondataavailable = event => pieces.push(event.data);
    const ended = new Promise(done => recorder.onstop = done);
    recorder.start();
    const until = performance.now() + 1000 * SECONDS;
    let moved = false;
    while (open === camera && performance.now() < until) {
      await rest(100);
      moved ||= camera.said.moving;
      if (moved && camera.said.resting) break;
    }
    part(".stage").classList.remove("recording");
    if (recorder.state !== "inactive") recorder.stop();
    await ended;
    const gone = open !== camera;
    if (!gone) close(false);
    if (camera.dropped || gone && !pieces.some(piece => piece.size)) return;
    const kind = recorder.mimeType.split(";")[0] || "video/webm";
    const files = new DataTransfer();
    files.items.add(new File(pieces, `sign.${kind.split("/")[1]}`, {type: kind}));
    dsta.whenThere("#video input[type=file]", field => {
      field.files = files.files;
      field.dispatchEvent(new Event("change", {bubbles: true}));
    });
    document.querySelector("#camera [data-camera=record]").textContent = "Record again";
  }

  // Sends picture after picture, and shows what is said of each.
  async function look(camera) {
    const preview = part("video"), small = document.createElement("canvas");
    const name = () => document.querySelector("#choice input")?.value ?? "";
    while (open === camera) {
      const scale = Math.min(1, SIDE / Math.max(preview.videoWidth, preview.videoHeight));
      Object.assign(small, {width: preview.videoWidth * scale, height: preview.videoHeight * scale});
      small.getContext("2d").drawImage(preview, 0, 0, small.width, small.height);
      const picture = await new Promise(done => small.toBlob(done, "image/jpeg", 0.8));
      const time = Math.round(performance.now() - camera.begun);
      try {
        const asked = address(camera, {time, mode: camera.mode, signs: name()});
        const answer = await fetch(asked, {method: "POST", body: picture});
        if (open !== camera) return;
        if (!answer.ok) {
          const sentence = await answer.text();
          if (camera.mode === "live") {
            close();
            dsta.notice(sentence);
          }
          return;  // a recording goes without hints
        }
        camera.said = await answer.json();
      } catch {
        if (camera.mode === "live") close();
        return;
      }
      camera.looked += 1;
      tell(camera, small);
      await rest(LOOKS[camera.mode]);
    }
  }

  function tell(camera, small) {
    const said = camera.said, over = part("canvas");
    Object.assign(over, {width: small.width, height: small.height});
    if (said.joints) dsta.drawJoints(over, said.joints, JSON.parse(part(".stage").dataset.bones));
    hint(said.hint || (camera.mode === "live" ? said.moving ? "…" : "Sign, then let your hands rest." : ""));
    part(".stage").dataset.rate = (camera.looked / (performance.now() - camera.begun) * 1000).toFixed(1);
    if (!said.sign) return;
    const [latest, history] = [part(".latest"), part(".history")];
    latest.textContent = said.sign.sure ? said.sign.gloss : `${said.sign.gloss}?`;
    latest.classList.toggle("unsure", !said.sign.sure);
    const line = document.createElement("li");
    line.textContent = `${latest.textContent} ${Math.round(100 * said.sign.score)} %`;
    history.prepend(line);
    [...history.children].slice(12).forEach(old => old.remove());
    dsta.announce(latest.textContent);
  }

  document.addEventListener("click", event => {
    const mode = event.target.closest?.("#camera [data-camera]")?.dataset.camera;
    if (mode === "close") close();
    else if (mode) start(mode);
  });
  document.addEventListener("keydown", event => event.key === "Escape" && open && close());
  addEventListener("pagehide", () => open && close());
  document.addEventListener("visibilitychange", () => document.hidden && open?.mode === "live" && close());
}
