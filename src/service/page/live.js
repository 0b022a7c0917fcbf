"use strict";
// Asks for this page again and puts the new in place of the old. Says aloud which runs changed their state.
(() => {
  const live = document.getElementById("live");
  const said = document.getElementById("said");
  const told = document.getElementById("told");
  if (!live) return;
  const states = (root) => new Map([...root.querySelectorAll("[data-run]")].map((e) => [e.dataset.run, e]));
  let before = states(live);
  const put = (fresh) => {
    if (fresh.innerHTML === live.innerHTML) return;
    const focused = document.activeElement && document.activeElement.id;
    const scrolled = [...live.querySelectorAll(".scroll, .graph")].map((e) => e.scrollLeft);
    const after = states(fresh);
    const changes = [];
    for (const [run, element] of after) {
      const old = before.get(run);
      if (old && old.dataset.state !== element.dataset.state) {
        changes.push(`${element.dataset.name}: ${element.dataset.state}`);
      }
    }
    live.replaceChildren(...fresh.childNodes);
    [...live.querySelectorAll(".scroll, .graph")].forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    if (focused) {
      const again = document.getElementById(focused);
      if (again) again.focus({ preventScroll: true });
    }
    before = states(live);
    if (changes.length) said.textContent = changes.join(". ");
  };
  const ask = async () => {
    let wait = 5000;
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        const text = await answer.text();
        const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
        if (!answer.ok || !fresh) throw new Error(answer.status);
        put(document.adoptNode(fresh));
        told.textContent = "";
        document.documentElement.dataset.live = "on";
        if (live.querySelector('[data-state="running"], [data-state="queued"]')) wait = 1000;
      } catch (error) {
        told.textContent = "The service does not answer; what is shown may be old.";
      }
    }
    setTimeout(ask, wait);
  };
  setTimeout(ask, 1000);
})();
