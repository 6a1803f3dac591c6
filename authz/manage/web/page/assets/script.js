"use strict";
// What a page can do beyond what it does without this: copy, ask in a dialog,
// filter without a reload. Everything here is also an address or a form.

// Copying. The buttons are hidden where there is no script.
function copied(button, text) {
  const shown = button.querySelector("span");
  button.dataset.label ??= shown.textContent;
  shown.textContent = text;
  const said = document.getElementById("said"); // for those who do not see it
  said.textContent = "";
  requestAnimationFrame(() => { said.textContent = text; });
  clearTimeout(button.back);
  button.back = setTimeout(() => { shown.textContent = button.dataset.label; }, 2000);
}

function copyBySelection(source) {
  // Where the page has no TLS, a browser has no clipboard for scripts.
  if (source.select) {
    source.select();
  } else {
    getSelection().selectAllChildren(source);
  }
  return document.execCommand("copy");
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const text = "value" in source ? source.value : source.textContent;
  let done = false;
  if (navigator.clipboard) {
    done = await navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  done = done || copyBySelection(source);
  copied(button, done ? button.dataset.copied : button.dataset.failed);
}

function equip(root) {
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
  for (const choice of root.querySelectorAll("[data-reveals]")) {
    const shown = document.getElementById(choice.dataset.reveals);
    const reveal = () => {
      shown.hidden = choice.value !== choice.dataset.when;
      const field = shown.querySelector("input");
      field.required = !shown.hidden;
      field.disabled = shown.hidden; // or what is wrong in there would keep the form
    };
    choice.addEventListener("change", reveal);
    reveal();
  }
  for (const field of root.querySelectorAll("[data-wrong]")) {
    field.addEventListener("input", () => {
      field.setCustomValidity(field.validity.patternMismatch ? field.dataset.wrong : "");
    });
  }
  for (const form of root.querySelectorAll("form[data-once]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) {
        event.preventDefault(); // the second click of a double click
        return;
      }
      const button = form.querySelector("button:not([type])");
      form.dataset.sent = "true";
      button.setAttribute("aria-disabled", "true");
      if (form.dataset.once) {
        return; // a second one could hide the value that the first one shows
      }
      setTimeout(() => { // nothing has come of it
        delete form.dataset.sent;
        button.removeAttribute("aria-disabled");
      }, 10000);
    });
  }
  for (const link of root.querySelectorAll("a[data-dialog]")) {
    link.addEventListener("click", (event) => ask(event, link));
  }
  for (const link of root.querySelectorAll("a[data-results-link]")) {
    link.addEventListener("click", (event) => {
      if (plain(event)) {
        event.preventDefault();
        show(link.href, true, link.id);
      }
    });
  }
}

function plain(event) {
  return event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
}

// A page of this site, or null where the answer is another: then the browser goes there.
async function load(url, signal) {
  const response = await fetch(url, { credentials: "same-origin", signal });
  if (!response.ok || response.redirected) {
    return null;
  }
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// Dialogs: the question of the page behind a link, on top of this one.
let asking = false;

async function ask(event, link) {
  if (!plain(event)) {
    return;
  }
  event.preventDefault();
  if (asking) {
    return;
  }
  asking = true;
  const page = await load(link.href, AbortSignal.timeout(10000)).catch(() => null);
  asking = false;
  const question = page && page.querySelector("[data-fragment]");
  if (!question) {
    location.assign(link.href);
    return;
  }
  const dialog = document.createElement("dialog");
  const title = question.querySelector("h1");
  title.id = "dialog-title";
  dialog.setAttribute("aria-labelledby", title.id);
  const said = question.querySelector("p");
  said.id = "dialog-text";
  dialog.setAttribute("aria-describedby", said.id);
  dialog.append(document.adoptNode(question));
  document.body.append(dialog);
  dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
  equip(dialog);
  for (const close of dialog.querySelectorAll("[data-close]")) {
    close.addEventListener("click", (closing) => { closing.preventDefault(); dialog.close(); });
  }
  dialog.showModal();
  const cancel = dialog.querySelector("[data-close]");
  (cancel || dialog).focus(); // what destroys is not one key away
}

// Filtering without a reload: the results of the page behind an address, in place of
// those that stand here.
let loading = null;

async function show(url, keep, focus) {
  const results = document.querySelector("[data-results]");
  if (loading) {
    loading.abort();
  }
  const mine = loading = new AbortController();
  results.setAttribute("aria-busy", "true");
  let page = null;
  try {
    page = await load(url, mine.signal);
  } catch {
    if (mine.signal.aborted) {
      return;
    }
  }
  const found = page && page.querySelector("[data-results]");
  if (!found) {
    location.assign(url);
    return;
  }
  if (keep) {
    history.pushState(null, "", url);
  } else {
    history.replaceState(null, "", url);
  }
  here = location.pathname + location.search;
  results.replaceChildren(...document.adoptNode(found).childNodes);
  // The count stays where it is, so that a screen reader tells of it; a filter keeps
  // the order.
  document.querySelector("[data-found]").textContent = page.querySelector("[data-found]").textContent;
  for (const kept of document.querySelectorAll("form[data-filter] input[type=hidden]")) {
    kept.value = page.querySelector(`form[data-filter] [name=${kept.name}]`)?.value ?? "";
  }
  results.removeAttribute("aria-busy");
  equip(results);
  if (focus === "next" || focus === "first") { // another page: to its beginning
    document.querySelector("[data-found]").focus();
  } else if (focus) {
    document.getElementById(focus)?.focus();
  }
}

function address(form) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value !== "") {
      fields.append(name, value);
    }
  }
  const query = fields.toString();
  return form.getAttribute("action") + (query ? "?" + query : "");
}

for (const form of document.querySelectorAll("form[data-filter]")) {
  let pause = 0;
  const filter = () => {
    clearTimeout(pause);
    if (form.reportValidity()) {
      show(address(form), false);
    }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
  form.addEventListener("input", (event) => {
    clearTimeout(pause);
    // A choice is made at once. What is typed, dates too, is not there before all is.
    const typed = event.target.matches("input:not([type=checkbox])");
    pause = setTimeout(filter, typed ? 400 : 0);
  });
}

// Back to a list that was shown without a reload. A link into the page is no such.
let here = location.pathname + location.search;
addEventListener("popstate", () => {
  if (location.pathname + location.search !== here) {
    location.reload();
  }
});

// A page that a browser has kept is shown anew, and a value not at all.
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    location.reload();
  }
});
for (const secret of document.querySelectorAll("[data-after]")) {
  // Whoever comes back here, or loads this again, gets the token's page.
  history.replaceState(null, "", secret.dataset.after);
  here = secret.dataset.after;
  addEventListener("pagehide", () => { secret.remove(); });
}

equip(document);
document.getElementById("problem")?.focus();
document.getElementById("result")?.focus();
