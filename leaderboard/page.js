// What the leaderboard's tab does in the browser. The page runs this once; tab.py's events call these.

window.leaderboard = {
  // The detail of a row lies below the table: bring it into view.
  showDetail() {
    const card = document.querySelector("#lb-detail");
    if (card.getBoundingClientRect().top > innerHeight * .8) card.scrollIntoView({behavior: "smooth"});
  },

  // Clicks the hidden button that holds the file, once gradio has given it its address.
  save() {
    setTimeout(() => document.querySelector("#lb-file").click(), 50);
  },
};
