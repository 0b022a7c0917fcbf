"use strict";
// Fetches this page again and replaces its content, keeping focus and scroll positions. Changes of a run's state are
// announced to screen readers.
(() => {
  const live = document.getElementById("live");
  const announcements = document.getElementById("announcements");
  const connectionError = document.getElementById("connection-error");
  if (!live) return;
  const runsById = (root) => new Map([...root.querySelectorAll("[data-run]")].map((e) => [e.dataset.run, e]));
  let before = runsById(live);
  const replace = (fresh) => {
    if (fresh.innerHTML === live.innerHTML) return;
    const focused = document.activeElement && document.activeElement.id;
    const scrolled = [...live.querySelectorAll(".scroll, .graph")].map((e) => e.scrollLeft);
    const after = runsById(fresh);
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
      const element = document.getElementById(focused);
      if (element) element.focus({ preventScroll: true });
    }
    before = runsById(live);
    if (changes.length) announcements.textContent = changes.join(". ");
  };
  // Every second while a run is active, else every five; a hidden page fetches nothing.
  const refresh = async () => {
    let wait = 5000;
    if (!document.hidden) {
      try {
        const response = await fetch(location.href, { credentials: "same-origin" });
        const text = await response.text();
        const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
        if (!response.ok || !fresh) throw new Error(response.status);
        replace(document.adoptNode(fresh));
        connectionError.textContent = "";
        document.documentElement.dataset.live = "on";
        if (live.querySelector('[data-state="running"], [data-state="queued"]')) wait = 1000;
      } catch (error) {
        connectionError.textContent = "The service is not responding; this page may be out of date.";
      }
    }
    setTimeout(refresh, wait);
  };
  setTimeout(refresh, 1000);
})();
