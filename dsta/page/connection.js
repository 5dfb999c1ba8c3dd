// Whether the program is still there. gradio reaches it by fetch alone; on a connection that breaks it would take no
// more commands and reload the page by itself, and an answer with it. Here it hears of a failure, and the page lives on.
{
  const ask = window.fetch;
  const {root, api_prefix, app_id} = window.gradio_config;
  const api = root + api_prefix;
  const rest = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  const isUpload = route => /^\/upload([?]|$)/.test(route);
  let watching = null;

  window.fetch = async (what, how) => {
    const address = String(what?.url ?? what), route = address.startsWith(api) ? address.slice(api.length) : "";
    let response;
    try {
      response = await ask(what, how);
    } catch (error) {
      if (!route || error.name === "AbortError") throw error;
      watch();
      if (isUpload(route)) dsta.notice("The upload broke off: try once more.");
      return Response.json({detail: "The connection broke."}, {status: 502});
    }
    if (isUpload(route) && !response.ok) dsta.notice(await response.clone().text());
    if (route.startsWith("/queue/join") && response.status === 503) {
      dsta.notice("Too many are waiting already: try again in a minute.");
    }
    return route.startsWith("/queue/data") && response.body ? new Response(mended(response.body), response) : response;
  };

  // The stream of what the server says of runs; one that breaks ends with an error for each, and as one that may be
  // opened again.
  function mended(body) {
    const reader = body.getReader();
    const end = [{msg: "unexpected_error", message: "The connection broke.", success: false}, {msg: "close_stream"}];
    const text = end.map(message => `data: ${JSON.stringify(message)}\n\n`).join("");
    return new ReadableStream({
      async pull(out) {
        try {
          const {done, value} = await reader.read();
          return done ? out.close() : out.enqueue(value);
        } catch (error) {
          if (error.name === "AbortError") return out.error(error);
          watch();
          if (dsta.asking) dsta.notice("The connection broke before there was an answer: press Recognise once more.");
          out.enqueue(new TextEncoder().encode(text));
          out.close();
        }
      },
      cancel: reason => reader.cancel(reason),
    });
  }

  // A request's timing is known when it has ended; the heartbeat, by which the server knows that the page is open, ends
  // with the connection.
  new PerformanceObserver(async list => {
    const heartbeat = list.getEntries().find(({name}) => name.startsWith(`${api}/heartbeat/`));
    if (!heartbeat) return;
    await watch();
    ask(heartbeat.name).then(response => response.text()).catch(() => {});  // it beats again, until its next end
    if (document.querySelector("#lesson-list li")) dsta.lessonAsk({do: "list", quiet: true});  // else they are forgotten
  }).observe({type: "resource", buffered: true});

  // The connection broke: waits until the program answers.
  function watch() {
    watching ??= wait().finally(() => watching = null);
    return watching;
  }

  async function wait() {
    say("");
    let now = null;
    while (now === null) {
      try {
        now = (await (await ask(`${api}/app_id`)).json()).app_id;
      } catch {
        say("The program does not answer. This page waits for it, and keeps what it shows.");
        await rest(2000);
      }
    }
    if (now === app_id) {
      await rest(500);  // for what gradio has to say
      document.querySelectorAll("[data-testid=toast-close]").forEach(button => button.click());
      await rest(500);
      say(null);
    } else say("The program was restarted: reload the page to go on.", true);
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
