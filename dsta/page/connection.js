// Whether the program is still there. On a broken connection gradio, which reaches the server by fetch alone, would
// reload the page by itself, and an answer with it.
{
  const ask = window.fetch;
  const {root, api_prefix, app_id} = window.gradio_config;
  const api = root + api_prefix;
  let ended = "";  // the address of the heartbeat, by which the server knows that the page is open, once it has ended
  let watching = false;

  window.fetch = async (what, how) => {
    const address = String(what?.url ?? what), route = address.startsWith(api) ? address.slice(api.length) : "";
    if (route === "/app_id") return new Response("", {status: 503});  // gradio wants to reload
    let response;
    try {
      response = await ask(what, how);
    } catch (error) {
      if (route.startsWith("/upload?")) dsta.notice("The upload broke off: try once more.");
      if (route && error.name !== "AbortError") watch();
      throw error;
    }
    if (route.startsWith("/upload?") && !response.ok) dsta.notice(await response.clone().text());
    if (route.startsWith("/queue/join") && response.status === 503) {
      dsta.notice("Too many are waiting already: try again in a minute.");
    }
    return response;
  };

  // A request's timing is known when it has ended; the heartbeat ends with the connection.
  new PerformanceObserver(list => {
    const heartbeat = list.getEntries().find(({name}) => name.startsWith(`${api}/heartbeat/`));
    if (!heartbeat) return;
    ended = heartbeat.name;
    watch();
  }).observe({type: "resource", buffered: true});

  // The connection broke: waits until the program answers. One that was restarted knows nothing of this page.
  async function watch() {
    if (watching) return;
    watching = true;
    say("");
    let now = null;
    while (now === null) {
      try {
        now = (await (await ask(`${api}/app_id`)).json()).app_id;
      } catch {
        say("The program does not answer. This page waits for it, and keeps what it shows.");
        await new Promise(done => setTimeout(done, 2000));
      }
    }
    watching = false;
    if (dsta.asking) {  // whose answer could not reach us
      document.querySelector("#stop")?.click();
      dsta.notice("The connection broke before there was an answer: press Recognise once more.");
    }
    if (now !== app_id) return say("The program was restarted: reload the page to go on.", true);
    document.querySelectorAll("[data-testid=toast-close]").forEach(button => button.click());
    setTimeout(say, 500, null);  // once those have faded
    if (ended) ask(ended).then(response => response.text()).catch(() => {});  // it beats again, until its next end
    ended = "";
  }

  // "" while it is not yet known what to say, null where all is well; else gradio's own words are hidden.
  function say(sentence, reload = false) {
    document.documentElement.toggleAttribute("data-lost", sentence !== null);
    const place = document.querySelector("#lost");
    if (place.firstChild?.textContent === sentence) return;
    place.replaceChildren(sentence ?? "");
    if (!reload) return;
    const button = place.appendChild(document.createElement("button"));
    button.textContent = "Reload";
    button.onclick = () => location.reload();
  }
}
