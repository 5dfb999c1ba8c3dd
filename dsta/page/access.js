// What the page does for those who use it by keyboard, or by ear.

Object.assign(window.dsta, {
  // Says a sentence to those who listen to the page.
  announce(sentence) {
    document.querySelector("#said")?.replaceChildren(sentence);
  },

  // Once gradio has put it there, says what stands where the answer is, and focuses its heading; who is in another tab
  // stays there.
  tell() {
    new MutationObserver((_, observer) => {
      const card = document.querySelector("#result .card"), heading = card?.querySelector("h2, h3");
      if (!heading) return;
      observer.disconnect();
      const told = card.querySelectorAll(".verdict, h2, li:first-child > span, h3, h3 + p, .note");
      dsta.announce([...told].map(part => part.textContent.replace(/[.]?$/, ".")).join(" "));
      heading.tabIndex = -1;
      if (!card.checkVisibility()) return;
      heading.focus({preventScroll: true});
      dsta.showResult();
    }).observe(document.querySelector("#result .html-container"), {childList: true, subtree: true, characterData: true});
  },

  // Names of gradio's that say nothing, or something else than what stands there -> better ones.
  names: {"start recording": null, "play-pause-replay-button": "Play or pause", "full-screen": "Full screen"},
});

document.addEventListener("focusin", ({target}) => {
  const better = dsta.names[target.getAttribute("aria-label")];
  if (better) target.setAttribute("aria-label", better);
  else if (better === null) target.removeAttribute("aria-label");
});

// Among tabs, arrow keys go to the next one, Home and End to the first and last.
document.addEventListener("keydown", event => {
  const tab = event.target.closest?.("[role=tab]");
  if (!tab || event.altKey || event.ctrlKey || event.metaKey) return;
  const tabs = [...tab.parentElement.querySelectorAll("[role=tab]:not([aria-disabled=true])")];
  const at = tabs.indexOf(tab), last = tabs.length - 1;
  const to = {ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at ? at - 1 : last, Home: 0, End: last}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  tabs[to].focus();
  tabs[to].click();
});
