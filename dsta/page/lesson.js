// The tab "Teach": clips wait here until the server has looked at those before them; what it says is shown.

Object.assign(window.dsta, {
  lesson: {
    clips: [],  // that wait: {file, name}, a clip to teach, or {file, trial: true}, one to recognise
    done: 0,  // of the clips since none waited
    looking: false,
    request: "",  // what the server is asked next
    settle: null,  // called with its outcome
    turn: Promise.resolve(),  // when the server has answered all that it was asked
    stream: null,  // of the camera
    stop: null,  // ends the recording
  },

  // What app.py's event asks the server.
  lessonRequest() {
    return [dsta.lesson.request];
  },

  lessonAnswered(outcome) {
    dsta.lesson.settle?.(outcome);
  },

  lessonFailed() {
    dsta.lesson.settle?.({problem: "The program could not answer: try once more."});
  },

  // Asks the server when it has answered what it was asked before -> the outcome, which the list already shows.
  lessonAsk(request) {
    const lesson = dsta.lesson;
    const answer = lesson.turn.then(() => new Promise(settle => {
      lesson.request = JSON.stringify(request);
      lesson.settle = settle;
      document.querySelector("#lesson-ask").click();
    })).then(outcome => {
      lesson.settle = null;
      if (outcome.list !== undefined) dsta.lessonList(outcome);
      if (outcome.problem && !request.quiet) dsta.lessonNote(outcome.problem);
      return outcome;
    });
    lesson.turn = answer.catch(() => {});
    return answer;
  },

  lessonList({list, count, beside}) {
    const place = document.querySelector("#lesson-list");
    if (beside) document.querySelector("#lesson-beside").innerHTML = beside;
    if (place.innerHTML !== list) place.innerHTML = list;
    document.querySelector("#lesson-save").disabled = !count;
    for (const id of ["lesson-try-record", "lesson-try-choose"]) document.querySelector(`#${id}`).disabled = !count;
  },

  // A sentence that stays until the next clips are given.
  lessonNote(sentence) {
    const item = document.createElement("p");
    item.className = "note";
    item.textContent = sentence;
    document.querySelector("#lesson-notes").append(item);
  },

  // "good_morning-2.mp4" -> "good morning"; "" of what cameras call their files.
  lessonName(file) {
    const name = file.name.replace(/\.\w+$/, "").replace(/_/g, " ").replace(/[\s-]*\(?\d*\)?$/, "").trim();
    return /^(img|vid|video|mov|pxl|dsc\w?|signal|whatsapp.*|screen.*|clip)?[\s-]*\d*$/i.test(name) ? "" : name;
  },

  // Files that were chosen or dropped wait to be taught; or one of our own is loaded.
  lessonGive(files) {
    const field = document.querySelector("#lesson-name"), typed = field.value.trim();
    document.querySelector("#lesson-notes").replaceChildren();
    const named = [...files].map(file => ({file, name: typed || dsta.lessonName(file)}));
    const nameless = named.filter(clip => !clip.name);
    if (nameless.length) {
      dsta.lessonNote(`Type the sign’s name first, then give ${nameless[0].file.name} once more.`);
      field.focus();
    }
    dsta.lesson.clips.push(...named.filter(clip => clip.name));
    if (typed) field.value = "";
    field.focus();
    dsta.lessonGo();
  },

  // Teaches, or tries, clip after clip until none waits.
  async lessonGo() {
    const lesson = dsta.lesson;
    dsta.lessonProgress();
    if (lesson.looking) return;
    lesson.looking = true;
    for (let clip; (clip = lesson.clips[0]); lesson.done++, lesson.clips.shift(), dsta.lessonProgress()) {
      dsta.lessonProgress();
      try {
        await (clip.trial ? dsta.lessonTry(clip.file) : dsta.lessonTeach(clip));
      } catch (error) {
        dsta.lessonNote(`${clip.file.name}: ${error.message}`);
      }
    }
    lesson.looking = false;
    lesson.done = 0;
    dsta.lessonProgress();
  },

  async lessonTeach({file, name}) {
    const outcome = await dsta.lessonAsk({do: "teach", name, run: await dsta.lessonUpload(file), quiet: true});
    if (outcome.problem) return dsta.lessonNote(`${name}: ${outcome.problem}`);
    for (const note of outcome.notes) dsta.lessonNote(`${outcome.sign}: ${note}`);
  },

  async lessonTry(file) {
    const place = document.querySelector("#lesson-answer");
    const vocabulary = document.querySelector("[name=lesson-among]:checked").value !== "";
    place.innerHTML = "";
    document.querySelector("#lesson-notes").replaceChildren();
    const outcome = await dsta.lessonAsk({do: "recognise", run: await dsta.lessonUpload(file), vocabulary});
    if (outcome.problem) return;
    place.innerHTML = outcome.answer;
    const heading = place.querySelector("h2");
    heading.tabIndex = -1;
    const told = place.querySelectorAll(".verdict, h2, li:first-child > span, .note");
    dsta.announce([...told].map(part => part.textContent.replace(/[.]?$/, ".")).join(" "));
    if (!place.checkVisibility()) return;
    heading.focus({preventScroll: true});
    place.scrollIntoView({behavior: "smooth", block: "nearest"});
  },

  // Sends a file -> its run.
  async lessonUpload(file) {
    const {root, api_prefix, max_file_size} = window.gradio_config;
    if (!file.size) throw new Error("it is empty: choose another file.");
    if (file.size > (max_file_size ?? Infinity)) {
      throw new Error(`it is larger than ${Math.round(max_file_size / 2 ** 20)} MB: send a shorter clip.`);
    }
    const form = new FormData();
    form.append("files", file, file.name);
    const response = await fetch(`${root}${api_prefix}/upload`, {method: "POST", body: form});
    if (response.status === 502) throw new Error("the upload broke off: try once more.");  // says connection.js
    if (!response.ok) throw new Error(await response.text());
    return (await response.json())[0].split(/[/\\]/).at(-2);
  },

  // How many clips are done, of those since none waited.
  lessonProgress() {
    const {clips, done} = dsta.lesson, place = document.querySelector("#lesson-work"), all = clips.length + done;
    place.hidden = !clips.length;
    Object.assign(place.querySelector("progress"), {max: all, value: done});
    const [next] = clips;
    const words = next && (next.trial ? "Recognising …" : `Learning “${next.name}” – clip ${done + 1} of ${all}`);
    place.querySelector("[role=status]").textContent = words ?? "";
  },

  // Opens the camera, once -> its picture.
  async lessonCamera() {
    const figure = document.querySelector("#lesson-camera"), picture = figure.querySelector("video");
    if (!dsta.lesson.stream?.active) {
      try {
        if (!dsta.camera) throw {name: "insecure"};
        if (!window.MediaRecorder) throw {name: "mute"};
        const wishes = {audio: false, video: {width: {ideal: 1280}, height: {ideal: 720}}};
        dsta.lesson.stream = await dsta.camera(wishes);
      } catch (error) {
        const known = dsta.cameraTrouble[error.name];
        dsta.lessonNote(known ?? `The camera cannot be opened (${error.name}): choose files.`);
        return null;
      }
      picture.srcObject = dsta.lesson.stream;
      await picture.play();
    }
    figure.hidden = false;
    return figure;
  },

  lessonCameraOff() {
    dsta.lesson.stop?.();
    dsta.lesson.stream?.getTracks().forEach(track => track.stop());
    document.querySelector("#lesson-camera").hidden = true;
    document.querySelector("#lesson-record").focus();
  },

  // Records takes of 2.5 seconds, a second after one another, each of which waits at once.
  async lessonRecord(takes, made) {
    const lesson = dsta.lesson;
    if (lesson.stop) return lesson.stop();
    document.querySelector("#lesson-notes").replaceChildren();
    let stopped = false;
    lesson.stop = () => stopped = true;  // from the first press on, so that a second one never records as well
    const figure = await dsta.lessonCamera();
    const say = words => figure.querySelector("figcaption").textContent = words;
    const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
    if (figure) figure.scrollIntoView({behavior: "smooth", block: "nearest"});
    dsta.lessonRecordButtons(true);
    for (let take = 1; figure && take <= takes && !stopped; take++) {
      say(takes > 1 ? `${take} of ${takes}: hands down …` : "Hands down …");
      await pause(1000);
      if (stopped) break;
      const parts = [], recorder = new MediaRecorder(lesson.stream);
      recorder.ondataavailable = ({data}) => parts.push(data);
      const over = new Promise(done => recorder.onstop = done);
      recorder.start();
      say("● Sign now");
      figure.dataset.live = true;
      await pause(2500);
      if (recorder.state !== "inactive") recorder.stop();
      await over;  // at once, where the camera was turned off
      delete figure.dataset.live;
      if (stopped) break;
      const kind = recorder.mimeType.split(";")[0] || "video/webm";
      made(new File(parts, `take-${take}.${kind.split("/")[1]}`, {type: kind}));
    }
    if (figure) say("");
    lesson.stop = null;
    dsta.lessonRecordButtons(false);
  },

  lessonRecordButtons(running) {
    for (const [id, words] of [["lesson-record", "Record 3 takes"], ["lesson-try-record", "Record one"]]) {
      document.querySelector(`#${id}`).textContent = running ? "Stop recording" : words;
    }
  },

  // Three takes of the sign that is named; the name is left selected, so that the next one is typed over it.
  lessonRecordSign() {
    const field = document.querySelector("#lesson-name"), name = field.value.trim();
    if (!name && !dsta.lesson.stop) {
      document.querySelector("#lesson-notes").replaceChildren();
      dsta.lessonNote("Type the sign’s name first.");
      return field.focus();
    }
    const recorded = dsta.lessonRecord(3, file => {
      dsta.lesson.clips.push({file, name});
      dsta.lessonGo();
    });
    return Promise.resolve(recorded).then(() => (field.focus(), field.select()));
  },

  async lessonSave() {
    const {file} = await dsta.lessonAsk({do: "save"});
    if (file) Object.assign(document.createElement("a"), {href: file, download: "my-signs.signs"}).click();
  },

  async lessonLoad(file) {
    document.querySelector("#lesson-notes").replaceChildren();
    try {
      const {loaded} = await dsta.lessonAsk({do: "load", run: await dsta.lessonUpload(file)});
      if (loaded) dsta.announce(`${loaded} signs were loaded.`);
    } catch (error) {
      dsta.lessonNote(`${file.name}: ${error.message}`);
    }
  },

  async lessonRemove(button) {
    button.disabled = true;
    await dsta.lessonAsk({do: "remove", name: button.dataset.remove});
    dsta.announce(`${button.dataset.remove} was removed.`);
    document.querySelector("#lesson-list button, #lesson-name").focus();
  },
});

{
  const within = (event, selector) => event.target.closest?.(selector);
  const does = {
    "#lesson-record": () => dsta.lessonRecordSign(),
    "#lesson-try-record": () => dsta.lessonRecord(1, file => (dsta.lesson.clips.push({file, trial: true}), dsta.lessonGo())),
    "#lesson-camera-off": () => dsta.lessonCameraOff(),
    "#lesson-save": () => dsta.lessonSave(),
    "#lesson-stop": () => (dsta.lesson.clips.splice(1), dsta.lessonProgress()),
    "#lesson [data-choose]": button => document.querySelector(`#${button.dataset.choose}`).click(),
    "#lesson [data-remove]": button => dsta.lessonRemove(button),
  };
  document.addEventListener("click", event => {
    for (const [selector, act] of Object.entries(does)) {
      const button = within(event, selector);
      if (button) return act(button);
    }
  });
  const given = {
    "lesson-files": files => dsta.lessonGive(files),
    "lesson-load": ([file]) => dsta.lessonLoad(file),
    "lesson-try": ([file]) => (dsta.lesson.clips.push({file, trial: true}), dsta.lessonGo()),
  };
  document.addEventListener("change", ({target}) => {
    if (!given[target.id] || !target.files.length) return;
    const files = [...target.files];
    target.value = "";  // so that the same file may be given once more
    given[target.id](files);
  });
  document.addEventListener("submit", event => {  // Enter after the name
    if (!within(event, "#lesson-form")) return;
    event.preventDefault();
    document.querySelector(dsta.lesson.stream?.active ? "#lesson-record" : "#lesson-files").click();
  });
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, event => {
      if (!within(event, "#lesson") || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (kind === "dragover") return;
      const trial = within(event, "[aria-labelledby=lesson-3]") && !document.querySelector("#lesson-try-choose").disabled;
      given[trial ? "lesson-try" : "lesson-files"](event.dataTransfer.files);
    });
  }
}
