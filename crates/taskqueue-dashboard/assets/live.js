// Makes pages live that work without it: every two seconds it reads the page anew and replaces the parts that are marked
// data-live. The server writes them, so that nothing is escaped or drawn here.
"use strict";

(() => {
  const PERIOD_MS = 2000;
  const ANSWER_MS_MAX = 30000;
  const state = document.getElementById("live");
  const parts = () => [...document.querySelectorAll("[data-live]")];

  // What has the focus is found again in the new part by where it leads, never by where it stands.
  const key = (element) => element?.getAttribute("href") ?? element?.form?.getAttribute("action");

  function replace(old, next) {
    const focused = old.contains(document.activeElement) ? key(document.activeElement) : null;
    old.replaceWith(next);
    if (focused) {
      const again = [...next.querySelectorAll("a, button")].find((element) => key(element) === focused);
      again?.focus({ preventScroll: true });
    }
  }

  // Answers why it could not, or nothing.
  async function refresh() {
    const address = location.pathname + location.search;
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok) return page.querySelector(".notice")?.textContent ?? `status ${answer.status}`;
    // A selection or a button that is held down would be lost.
    if (!getSelection().isCollapsed || document.querySelector("main :active")) return "something is selected";
    let replaced = 0;
    for (const old of parts()) {
      const next = page.getElementById(old.id);
      if (!next) continue;
      replace(old, next);
      replaced += 1;
    }
    // A proxy's login, say, is a page as well.
    return replaced > 0 ? null : "this page is no longer the dashboard's";
  }

  async function live() {
    if (!document.hidden) {
      const why = await refresh().catch(() => "the dashboard does not answer");
      state.textContent = why ? `not refreshed: ${why}` : "live";
      state.className = why ? "bad" : "";
    }
    if (parts().length > 0) setTimeout(live, PERIOD_MS);
    else state.textContent = state.className = "";
  }

  const all = document.querySelector("[data-select-all]");
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of document.querySelectorAll("input[name=id]")) box.checked = all.checked;
    });
  }
  if (parts().length > 0) setTimeout(live, PERIOD_MS);
})();
