// Skeletons that move: the signs of a vocabulary, and the visitor's beside the average of the best match. What they show
// is made by signs.py: 27 joints a frame, three bytes each, and the lines between them.
{
  const RATE = 16;  // frames a second
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const moving = new Map();  // canvas -> what draws a frame of it, of those on the screen
  const watcher = new IntersectionObserver(entries => entries.forEach(({target, isIntersecting}) => {
    if (isIntersecting) moving.set(target, target.show);
    else moving.delete(target);
  }));
  const fetched = {};

  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const frames = motion => motion.length / 81;

  // Joints over a picture: [x, y, seen] each, as fractions of it.
  dsta.drawJoints = (canvas, joints, {bones, colours}) => {
    const pen = canvas.getContext("2d");
    pen.lineWidth = canvas.width / 120;
    pen.lineCap = "round";
    for (const [parent, child, colour] of bones) {
      const [from, to] = [joints[parent], joints[child]];
      if (!from[2] || !to[2]) continue;
      pen.strokeStyle = colours[colour];
      pen.beginPath();
      pen.moveTo(from[0] * canvas.width, from[1] * canvas.height);
      pen.lineTo(to[0] * canvas.width, to[1] * canvas.height);
      pen.stroke();
    }
  };

  // One frame of a motion, seen in a mirror or not.
  function draw(canvas, motion, frame, {bones, colours}, mirrored = false) {
    const pen = canvas.getContext("2d"), size = canvas.width;
    const at = joint => motion.subarray(81 * frame + 3 * joint, 81 * frame + 3 * joint + 3);
    const x = value => (mirrored ? 255 - value : value) / 255 * size;
    pen.fillStyle = "rgb(22, 28, 36)";
    pen.fillRect(0, 0, size, canvas.height);
    pen.lineCap = "round";
    for (const [parent, child, colour] of bones) {
      const from = at(parent), to = at(child);
      if (!from[2] || !to[2]) continue;
      pen.strokeStyle = colours[mirrored && colour < 2 ? 1 - colour : colour];
      pen.lineWidth = size / (child < 7 ? 60 : 110);
      pen.beginPath();
      pen.moveTo(x(from[0]), from[1] / 255 * size);
      pen.lineTo(x(to[0]), to[1] / 255 * size);
      pen.stroke();
    }
    const nose = at(0);
    if (!nose[2]) return;
    pen.fillStyle = colours[2];
    pen.beginPath();
    pen.arc(x(nose[0]), nose[1] / 255 * size, size / 45, 0, 7);
    pen.fill();
  }

  // A canvas shows a motion over and over while it is on the screen; in its middle, to those who want no motion.
  function play(canvas, count, show) {
    canvas.show = time => show(still.matches ? count >> 1 : Math.floor(time / 1000 * RATE) % (count + RATE / 2));
    canvas.show(0);
    watcher.unobserve(canvas);
    watcher.observe(canvas);
  }

  function loop(time) {
    for (const [canvas, show] of moving) canvas.isConnected ? show(time) : moving.delete(canvas);
    setTimeout(() => requestAnimationFrame(loop), 1000 / RATE);
  }
  requestAnimationFrame(loop);

  async function fill(part) {
    const name = part.dataset.signs, lines = JSON.parse(part.dataset.bones);
    let signs;
    try {
      fetched[name] ??= fetch(`${window.gradio_config.root}/signs/${name}`).then(answer => answer.json());
      signs = await fetched[name];
    } catch {
      delete fetched[name];
      return;  // the names stand there without pictures
    }
    part.querySelectorAll(".tile:not(:has(canvas))").forEach(tile => {
      const sign = signs[tile.dataset.sign];
      if (!sign?.motion) return tile.classList.add("bare");
      const canvas = Object.assign(document.createElement("canvas"), {width: 220, height: 220});
      const motion = bytes(sign.motion), last = frames(motion) - 1;
      tile.prepend(canvas);
      tile.title = `the average of ${sign.signers} signers`;
      play(canvas, last + 1, frame => draw(canvas, motion, Math.min(frame, last), lines));
    });
  }

  // The visitor's skeleton beside that of a candidate; for each frame of the one it is known which of the other it meets.
  function beside(part, number) {
    const [yours, theirs] = part.querySelectorAll("canvas"), lines = JSON.parse(part.dataset.bones);
    const own = bytes(part.dataset.motion), candidate = JSON.parse(part.dataset.beside)[number];
    const motion = bytes(candidate.motion), last = frames(own) - 1;
    part.querySelector(".of").textContent = `${candidate.gloss}, the average of ${candidate.signers} signers`;
    part.querySelectorAll("[data-beside]").forEach(button => {
      button.ariaPressed = String(Number(button.dataset.beside) === number);
    });
    play(yours, last + 1, tick => {
      const frame = Math.min(tick, last);
      draw(yours, own, frame, lines);
      draw(theirs, motion, candidate.steps[frame], lines, candidate.mirrored);
    });
  }

  // An example goes the way of a visitor's own skeleton file.
  async function attempt(button) {
    const address = `${window.gradio_config.root}/signs/${button.closest(".signs").dataset.signs}`;
    const answer = await fetch(`${address}/${button.dataset.try}.npz`);
    if (!answer.ok) return dsta.notice(await answer.text());
    const file = new File([await answer.blob()], `${button.textContent}.npz`), files = new DataTransfer();
    files.items.add(file);
    dsta.give(files.files);
  }

  document.addEventListener("click", event => {
    const button = event.target.closest("[data-try], .tile, button[data-beside]");
    if (!button) return;
    if (button.dataset.try) return attempt(button);
    if (button.dataset.beside) return beside(button.closest(".beside"), Number(button.dataset.beside));
    button.closest(".tiles").querySelectorAll(".large").forEach(tile => tile !== button && tile.classList.remove("large"));
    button.classList.toggle("large");
  });
  document.addEventListener("toggle", event => {
    if (event.target.matches?.(".signs details") && event.target.open) fill(event.target.closest(".signs"));
  }, true);
  document.addEventListener("input", event => {
    if (!event.target.matches(".signs input")) return;
    const wanted = event.target.value.trim().toLowerCase();
    event.target.closest(".signs").querySelectorAll(".tile").forEach(tile => {
      tile.hidden = !tile.textContent.toLowerCase().includes(wanted);
    });
  });
  new MutationObserver(() => document.querySelectorAll(".beside:not([data-shown])").forEach(part => {
    part.dataset.shown = "";
    beside(part, 0);
  })).observe(document, {childList: true, subtree: true});
}
