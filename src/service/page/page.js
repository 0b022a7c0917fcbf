"use strict";
// Keeps the page up to date, shows times in the zone of the browser, loads the rows of blocks when they are opened, copies
// commands, and sends the actions. Every text goes into the page as text; HTML comes from the service alone, which escapes.
(() => {
  const byId = (id) => document.getElementById(id);
  const main = byId("main");
  const say = (id, text) => { byId(id).textContent = text; };

  // Times: the zone of the browser in the text, UTC in the title.
  const two = (n) => String(n).padStart(2, "0");
  const localTimes = (root) => {
    for (const e of root.querySelectorAll("time")) {
      const d = new Date(e.dateTime);
      if (isNaN(d)) continue;
      e.textContent = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ` +
        `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
    }
  };
  say("zone", `Times are local (${Intl.DateTimeFormat().resolvedOptions().timeZone}); hover over one for UTC.`);

  // Rows: fetched when their block is opened, and again when the state of the block has changed.
  const fetchPart = async (url, id) => {
    const response = await fetch(url);
    const part = new DOMParser().parseFromString(await response.text(), "text/html").getElementById(id);
    if (!part) throw new Error(response.status);
    // Several of them may be on one page.
    part.removeAttribute("id");
    return document.adoptNode(part);
  };
  const load = async (details) => {
    const { src, version } = details.dataset;
    if (!details.open || !src || details.dataset.loaded === version) return;
    details.dataset.loaded = version;
    const place = details.querySelector(".rows");
    try {
      place.replaceChildren(await fetchPart(src, "rows"));
    } catch {
      delete details.dataset.loaded;
      place.textContent = "The rows cannot be loaded.";
    }
  };
  const loadOpen = () => main.querySelectorAll("details[data-src]").forEach(load);
  main.addEventListener("toggle", (event) => load(event.target), true);

  // Changes of a run's state are announced to screen readers.
  const runsById = (root) => new Map([...root.querySelectorAll("[data-run]")].map((e) => [e.dataset.run, e.dataset]));
  const announce = (before, after) => {
    const changed = [...after].filter(([run, to]) => before.has(run) && before.get(run).state !== to.state);
    if (changed.length) say("announcements", changed.map(([, to]) => `${to.name}: ${to.state}`).join(". "));
  };

  // The service opens some details itself; those that the user has opened or closed since stay as they are.
  const noteOpen = (root) => root.querySelectorAll("details[id]").forEach((e) => { e.dataset.was = e.open; });

  // Puts a newer state in place, and keeps what the user did: focus, scrolling, open details and their rows.
  const replace = (fresh) => {
    const focused = document.activeElement && document.activeElement.id;
    const scrolled = new Map([...main.querySelectorAll(".scroll[id]")].map((e) => [e.id, e.scrollLeft]));
    localTimes(fresh);
    noteOpen(fresh);
    for (const old of main.querySelectorAll("details[id]")) {
      const details = fresh.querySelector(`details[id="${CSS.escape(old.id)}"]`);
      if (!details) continue;
      if (String(old.open) !== old.dataset.was) details.open = old.open;
      if (old.dataset.loaded && old.dataset.loaded === details.dataset.version) {
        details.querySelector(".rows").replaceWith(old.querySelector(".rows"));
        details.dataset.loaded = old.dataset.loaded;
      }
    }
    announce(runsById(main), runsById(fresh));
    // The first workflow or run of a service brings parts that an empty one does not have.
    const parts = (root) => [...root.children].map((e) => (e.className === "live" ? e.id : "")).join();
    if (parts(main) !== parts(fresh)) return location.reload();
    for (const part of main.querySelectorAll(".live")) {
      const newer = [...fresh.children].find((e) => e.id === part.id);
      if (newer && newer.innerHTML !== part.innerHTML) part.replaceChildren(...document.adoptNode(newer).childNodes);
    }
    for (const [id, left] of scrolled) if (byId(id)) byId(id).scrollLeft = left;
    if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
    loadOpen();
  };

  // Every second while a run is active; without changes less and less often, up to every 15 seconds. A hidden page fetches
  // nothing.
  let tag = "";
  let quiet = 1;
  let timer;
  // An action is not disturbed, because it may have several requests and end on another page.
  let acting = false;
  const refresh = async () => {
    clearTimeout(timer);
    if (document.hidden || acting) return;
    try {
      const response = await fetch(location.href, { headers: tag ? { "if-none-match": tag } : {} });
      if (acting) return;
      if (response.status === 401 || response.status === 404) return location.reload();
      if (response.status === 304) {
        quiet = Math.min(quiet + 1, 15);
      } else {
        const text = await response.text();
        if (acting) return;
        const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("main");
        if (!response.ok || !fresh) throw new Error(response.status);
        tag = response.headers.get("etag") || "";
        quiet = 1;
        replace(fresh);
        document.documentElement.dataset.live = "on";
      }
      say("connection-error", "");
    } catch {
      say("connection-error", "The service is not responding; this page may be out of date.");
      quiet = Math.min(quiet + 1, 15);
    }
    const isActive = main.querySelector('[data-state="running"], [data-state="queued"]');
    timer = setTimeout(refresh, isActive ? 1000 : 1000 * quiet);
  };
  document.addEventListener("visibilitychange", refresh);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) acting = false;
    refresh();
  });

  // Actions: requests that no page of another origin can send, because of their header.
  const send = async (path, body) => {
    const headers = { "x-drawoff-page": "1" };
    if (typeof body === "string") headers["content-type"] = "application/json";
    const response = await fetch(path, { method: "POST", headers, body });
    const result = await response.json().catch(() => ({}));
    if (response.ok) return result;
    const { detail } = result;
    const texts = Array.isArray(detail) ? detail.map((e) => `${(e.loc || []).join(".")}: ${e.msg}`) : [detail];
    throw new Error(texts.join("\n") || `the service responded with ${response.status}`);
  };
  // One action at a time, and its error in words. An action returns the page to go to, or nothing to stay.
  const act = async (control, action) => {
    if (acting) return;
    acting = control.disabled = true;
    say("action-error", "");
    try {
      const path = await action();
      if (path) return location.assign(path);
    } catch (error) {
      say("action-error", error.message);
      byId("action-error").scrollIntoView({ block: "nearest" });
    }
    acting = control.disabled = false;
    await refresh();
  };
  const toRun = ({ job_id }) => `/ui/runs/${encodeURIComponent(job_id)}`;
  const start = (workflow, body) =>
    send(`/ui/actions/run?workflow_id=${workflow}&result_formats=ndjson`, JSON.stringify(body)).then(toRun);

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { post, confirm: question, goto, copy, example, rows } = button.dataset;
    if (copy) copyText(button, byId(copy));
    if (example) {
      act(button, async () => {
        const { id } = await send("/ui/actions/create_workflow", example);
        return start(encodeURIComponent(id), { webhook_payload: JSON.parse(rows) });
      });
    }
    if (!post || (question && !window.confirm(question))) return;
    act(button, async () => {
      const result = await send(post);
      return goto || (result.status === "queued" ? toRun(result) : undefined);
    });
  });

  const copyText = async (button, element) => {
    const label = button.firstChild;
    const before = label.nodeValue;
    try {
      await navigator.clipboard.writeText(element.textContent);
    } catch {
      // Outside of a secure context there is no clipboard: the text is selected instead.
      getSelection().selectAllChildren(element);
      if (!document.execCommand("copy")) return;
    }
    label.nodeValue = "Copied";
    say("announcements", "Copied");
    setTimeout(() => { label.nodeValue = before; }, 1500);
  };

  const parsed = (id, what) => {
    const text = byId(id) ? byId(id).value.trim() : "";
    try {
      return text ? JSON.parse(text) : undefined;
    } catch (error) {
      throw new Error(`${what}: ${error.message}`);
    }
  };
  const runForm = byId("run");
  const body = () => ({ webhook_payload: parsed("rows-in", "rows"), specs_override: parsed("override", "specs_override") });
  if (runForm) {
    runForm.addEventListener("submit", (event) => {
      event.preventDefault();
      act(runForm.querySelector("button.main"), async () => {
        const request = body();
        const file = byId("file-in") && byId("file-in").files[0];
        if (file) {
          const form = new FormData();
          form.append("file", file);
          const { handle_id } = await send("/ui/actions/upload", form);
          request.specs_override = { ...request.specs_override, resource_handle_id: handle_id };
        }
        return start(runForm.dataset.workflow, request);
      });
    });
    // The commands have the rows of the form, quoted for a shell.
    const fill = () => {
      let request;
      try { request = body(); } catch { return; }
      // Characters that would reorder the line are escaped, as on the rest of the page.
      const escaped = (c) => `\\u${c.charCodeAt(0).toString(16)}`;
      const quoted = (value) => JSON.stringify(value ?? []).replace(/[\u202a-\u202e\u2066-\u2069]/g, escaped)
        .replaceAll("'", "'\\''");
      // The last place is that of the form; another one is part of a name.
      const filled = (line, place, value) => {
        const at = line.lastIndexOf(place);
        return at < 0 ? line : line.slice(0, at) + quoted(value) + line.slice(at + place.length);
      };
      for (const pre of document.querySelectorAll("[data-template]")) {
        const line = pre.dataset.template;
        pre.textContent = pre.id.startsWith("curl") ? filled(line, "⟦body⟧", request)
          : filled(line, "⟦rows⟧", request.webhook_payload);
      }
    };
    runForm.addEventListener("input", fill);
    fill();
  }
  const createForm = byId("create");
  if (createForm) {
    createForm.addEventListener("submit", (event) => {
      event.preventDefault();
      act(createForm.querySelector("button"), async () => {
        const { id } = await send("/ui/actions/create_workflow", byId("definition").value);
        return `/ui/workflows/${encodeURIComponent(id)}`;
      });
    });
  }

  // A link to a block opens it.
  const openTarget = () => {
    const target = location.hash && byId(location.hash.slice(1));
    if (!target || target.tagName !== "DETAILS") return;
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", openTarget);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#block-"]');
    if (link && link.getAttribute("href") === location.hash) openTarget();
  });

  localTimes(document);
  noteOpen(main);
  openTarget();
  loadOpen();
})();
