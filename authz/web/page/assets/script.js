"use strict";
// Copying, dialogs, and filtering without a reload. The pages work without this script:
// everything it does is also an address or a form.

// Copying. The buttons are hidden without JavaScript.
function copied(button, text) {
  const shown = button.querySelector("span");
  button.dataset.label ??= shown.textContent;
  shown.textContent = text;
  const announcement = document.getElementById("announcement"); // for screen readers
  announcement.textContent = "";
  requestAnimationFrame(() => { announcement.textContent = text; });
  clearTimeout(button.back);
  button.back = setTimeout(() => { shown.textContent = button.dataset.label; }, 2000);
}

function copyBySelection(source) {
  // Without TLS browsers give scripts no clipboard.
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
      field.disabled = shown.hidden; // an invalid hidden field would block the form
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
        return; // a second response would replace the value shown by the first
      }
      setTimeout(() => { // no response so far
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

// load fetches a page of this site. It returns null for other responses, which the browser must load itself.
async function load(url, signal) {
  const response = await fetch(url, { credentials: "same-origin", signal });
  if (!response.ok || response.redirected) {
    return null;
  }
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// Dialogs: the confirmation page behind a link, on top of this page.
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
  const text = question.querySelector("p");
  text.id = "dialog-text";
  dialog.setAttribute("aria-describedby", text.id);
  dialog.append(document.adoptNode(question));
  document.body.append(dialog);
  dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
  equip(dialog);
  for (const close of dialog.querySelectorAll("[data-close]")) {
    close.addEventListener("click", (closing) => { closing.preventDefault(); dialog.close(); });
  }
  dialog.showModal();
  const cancel = dialog.querySelector("[data-close]");
  (cancel || dialog).focus(); // Enter must not confirm
}

// Filtering without a reload: the results at another address replace those of this page.
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
  // The element of the count stays, so that screen readers announce it. The hidden fields
  // keep the order.
  document.querySelector("[data-found]").textContent = page.querySelector("[data-found]").textContent;
  for (const kept of document.querySelectorAll("form[data-filter] input[type=hidden]")) {
    kept.value = page.querySelector(`form[data-filter] [name=${kept.name}]`)?.value ?? "";
  }
  results.removeAttribute("aria-busy");
  equip(results);
  if (focus === "next" || focus === "first") { // another page of results: go to its beginning
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
    // A choice takes effect immediately, typed text and dates after a pause.
    const typed = event.target.matches("input:not([type=checkbox])");
    pause = setTimeout(filter, typed ? 400 : 0);
  });
}

// Going back to a list that was shown without a reload; not a link within the page.
let here = location.pathname + location.search;
addEventListener("popstate", () => {
  if (location.pathname + location.search !== here) {
    location.reload();
  }
});

// A page restored from the browser's cache is reloaded, and a value is removed.
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    location.reload();
  }
});
for (const secret of document.querySelectorAll("[data-after]")) {
  // Going back or reloading leads to the token's page.
  history.replaceState(null, "", secret.dataset.after);
  here = secret.dataset.after;
  addEventListener("pagehide", () => { secret.remove(); });
}

equip(document);
document.getElementById("problem")?.focus();
document.getElementById("result")?.focus();
