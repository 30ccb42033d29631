// States of the page, all in the browser: an old answer is gone at the moment of a change, not a
// round trip later. Every change gets a ticket; it travels with the request, and a result is shown
// only while its ticket is the latest one.
(() => {
  "use strict";

  const root = document.documentElement;
  const tickets = { check: 0, batch: 0 };
  // A change is under way in the browser (an upload, an example), and no request was sent yet.
  let awaiting = false;
  let keepProblem = false;
  let moveFocus = false;
  let said = "";
  // Path and model of the latest request.
  let begun = "";
  const image = { name: "", preview: "" };
  // Name of the file that an example or a row of the table is loading.
  let loading = "";

  const live = () => document.getElementById("derm-live");

  const say = (text) => {
    if (!live() || text === said) return;
    said = text;
    live().textContent = text;
  };

  const setState = (state) => {
    root.dataset.check = state;
    if (state === "empty") say("");
  };

  const preview = (address) => {
    image.preview = address;
    for (const picture of document.querySelectorAll("[data-fill=preview]")) {
      picture.hidden = !address;
      if (address) picture.src = address;
    }
  };

  // The visitor has chosen something new: nothing of the old answer may be seen from here on.
  const replace = (name, address, file = name) => {
    tickets.check += 1;
    awaiting = true;
    loading = file;
    keepProblem = false;
    moveFocus = true;
    image.name = name;
    preview(address);
    setState("busy");
  };

  // An inner step of Gradio: an event of the component that shows the answer.
  const act = (event) => {
    document.querySelector("#answer [data-ticket]")?.dispatchEvent(new CustomEvent("derm", { bubbles: true, detail: event }));
  };

  const clear = () => {
    tickets.check += 1;
    awaiting = false;
    begun = "";
    image.name = "";
    preview("");
    setState("empty");
    act("clear");
    requestAnimationFrame(() => document.querySelector("#image button.upload-container, #image button")?.focus());
  };

  window.dermhub = {
    image,
    say,
    act,
    clear,
    // Gradio is about to send the image, or that there is none, to the server.
    begin(given, kind, stay = false) {
      if (!given && keepProblem) {
        keepProblem = false;
        return [given, kind, -1];
      }
      const choice = given ? `${given.path} ${kind}` : "";
      // Gradio sometimes tells of one change twice.
      if (given && !awaiting && choice === begun && root.dataset.check !== "empty") return [given, kind, tickets.check];
      begun = choice;
      if (!awaiting) {
        tickets.check += 1;
        moveFocus = !stay;
      }
      awaiting = false;
      if (!given) {
        if (root.dataset.check !== "empty") setState("empty");
      } else {
        image.name = given.orig_name || image.name;
        if (!image.preview) preview(given.url);
        for (const one of document.querySelectorAll("[data-fill=wait]"))
          one.textContent = kind === "fast" ? "Checking … (about a second)" : "Checking with the larger model … (the first time takes a few seconds)";
        setState("busy");
      }
      return [given, kind, tickets.check];
    },
    // The models were changed: the focus stays where it is.
    other(given, kind) {
      return this.begin(given, kind, true);
    },
    ticket: () => tickets.check,
    // An example was loaded; where it is the image that was there already, no change follows.
    // On a slow line the visitor may have chosen another image since: that one is still awaited.
    settled(given) {
      const ticket = tickets.check;
      setTimeout(() => {
        const shown = document.querySelector("#answer [data-ticket]");
        if (!awaiting || !shown || ticket !== tickets.check || given?.orig_name !== loading) return;
        awaiting = false;
        tickets.check = Number(shown.dataset.ticket);
        refresh();
      }, 300);
    },
    beginBatch(files, kind) {
      tickets.batch += 1;
      return [files, kind, tickets.batch];
    },
    batch: () => tickets.batch,
    label: (files) => (files?.length ? `Check ${files.length} image${files.length > 1 ? "s" : ""}` : "Check the images"),
    row: 0,
    // A row of the table of many images was chosen: it is answered on the first tab.
    openRow(name) {
      replace(name, "");
      document.querySelector("[role=tab]")?.click();
    },
  };

  // Show what belongs to the latest change, hide all else.
  const refresh = () => {
    for (const one of document.querySelectorAll("[data-ticket]")) {
      const current = Number(one.dataset.ticket) === tickets[one.dataset.area];
      if (one.hasAttribute("data-current") !== current) one.toggleAttribute("data-current", current);
    }
    const shown = document.querySelector("#answer [data-current]");
    if (shown && !awaiting && root.dataset.check === "busy") {
      const problem = shown.querySelector(".derm-problem");
      setState(problem ? "problem" : "answer");
      if (problem) {
        keepProblem = true;
        act("clear");
      } else if (moveFocus) arrive(shown);
      moveFocus = false;
    }
    const slot = document.querySelector("#answer [data-current] .derm-slot");
    const checked = document.querySelector("#stability [data-current]");
    if (slot && checked && slot.dataset.filled !== checked.dataset.run) {
      slot.innerHTML = checked.innerHTML;
      slot.dataset.filled = checked.dataset.run;
    }
    const texts = [...document.querySelectorAll("[data-say]")]
      .filter((one) => !one.closest("[data-ticket]:not([data-current])") && one.offsetParent !== null)
      .map((one) => one.dataset.say);
    if (texts.length) say(texts[texts.length - 1]);
  };

  // On a phone the answer lies below what was touched last: go there.
  const arrive = (shown) => {
    const answer = shown.querySelector(".derm-answer");
    if (!answer) return;
    answer.focus({ preventScroll: true });
    const verdict = answer.querySelector(".derm-verdict") || answer;
    const box = verdict.getBoundingClientRect();
    if (box.bottom > window.innerHeight || answer.getBoundingClientRect().top < 0)
      answer.scrollIntoView({ block: "start" });
  };

  // An upload was refused: Gradio tells why in a message of its own, and the page goes back.
  const failed = () => {
    if (awaiting && document.querySelector("[data-testid=toast-body].error, .toast-body.error")) {
      awaiting = false;
      setState("empty");
    }
  };

  document.addEventListener(
    "change",
    (event) => {
      if (event.target.matches("#image input[type=file]") && event.target.files.length)
        replace(event.target.files[0].name, URL.createObjectURL(event.target.files[0]));
    },
    true,
  );
  document.addEventListener(
    "drop",
    (event) => {
      const file = event.dataTransfer?.files[0];
      if (file && event.target.closest("#image")) replace(file.name, URL.createObjectURL(file));
    },
    true,
  );
  document.addEventListener(
    "click",
    (event) => {
      const example = event.target.closest("#examples button");
      if (!example) return;
      const address = example.querySelector("img")?.src || "";
      replace(example.textContent.trim(), address, decodeURIComponent(address.split("/").pop()));
    },
    true,
  );
  // Ctrl+V pastes an image anywhere on the first tab.
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
    const box = document.getElementById("image");
    if (!file || !box || box.closest("[role=tabpanel]")?.offsetParent === null) return;
    event.preventDefault();
    if (root.dataset.check !== "empty") clear();
    const give = (tries) => {
      const input = document.querySelector("#image input[type=file]");
      if (!input) return tries && setTimeout(give, 50, tries - 1);
      const carrier = new DataTransfer();
      carrier.items.add(file);
      input.files = carrier.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    };
    give(20);
  });
  // Gradio's paste button fails without a word where the browser does not let it read.
  const read = navigator.clipboard?.read?.bind(navigator.clipboard);
  if (read)
    navigator.clipboard.read = () =>
      read().catch(() => {
        const hint = document.getElementById("derm-paste");
        if (hint) hint.hidden = false;
        say(hint?.textContent || "");
        return [];
      });

  const start = () => {
    const line = document.createElement("div");
    line.className = "derm-hidden";
    line.id = "derm-live";
    line.setAttribute("role", "status");
    line.setAttribute("aria-live", "polite");
    document.body.append(line);
    // Gradio changes the HTML of a component piece by piece: texts and attributes, too.
    const watched = { childList: true, subtree: true, characterData: true };
    new MutationObserver(() => {
      refresh();
      failed();
      window.dermhub.tidy?.();
    }).observe(document.body, { ...watched, attributeFilter: ["data-ticket", "data-current", "data-run", "data-say"] });
  };
  setState("empty");
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})();
