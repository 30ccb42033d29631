// States of the page, all in the browser: an old answer is gone at the moment of a change, not a
// round trip later. Every change gets a ticket; it travels with the request, and a result is shown
// only while its ticket is the latest one.
(() => {
  "use strict";

  const root = document.documentElement;
  const tickets = { check: 0, batch: 0 };
  // A change is under way in the browser (an upload, an example), and no request was sent yet: the
  // name of the file that Gradio will give. Anything else that it gives until then was chosen before.
  let awaited = null;
  // Names of files that were awaited before: each may still come, even after the one that counts.
  const late = new Set();
  // What Gradio gave last for the image that counts.
  let latest = null;
  // Name of a file that still travels to the server, although the visitor has gone back meanwhile.
  let dropped = null;
  let keepProblem = false;
  let moveFocus = false;
  let said = "";
  // Path and model of the latest request, and what it takes: image, model and ticket.
  let begun = "";
  let request = [null, "", -1];
  const image = { name: "", preview: "" };
  // The model that was chosen last; "" while nobody has chosen.
  let model = "";

  const live = () => document.getElementById("derm-live");

  const say = (text) => {
    if (!live() || text === said) return;
    said = text;
    live().textContent = text;
  };

  const setState = (state) => {
    root.dataset.check = state;
    if (state === "empty") say("");
    // The sentence of the next answer may be the one that was said last: this makes it news.
    if (state === "busy") say("The image is being checked.");
    if (state === "lost") say(document.getElementById("derm-lost")?.dataset.say || "");
  };

  const preview = (address) => {
    image.preview = address;
    for (const picture of document.querySelectorAll("[data-fill=preview]")) {
      picture.hidden = !address;
      // A browser shows no HEIC, DICOM or TIFF; the answer brings the picture that the server decoded.
      picture.onerror = () => (picture.hidden = true);
      if (address) picture.src = address;
    }
  };

  // The visitor has chosen something new: nothing of the old answer may be seen from here on.
  const replace = (name, address) => {
    tickets.check += 1;
    if (awaited !== null) late.add(awaited);
    late.delete(name);
    awaited = name;
    dropped = null;
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
    dropped = awaited;
    awaited = null;
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
    // Gradio has an image, or none any more: the server is asked where the image counts. Of none it
    // hears nothing: such a request would cross that of the next image, whose answer Gradio can lose.
    // Returns whether it is asked.
    begin(given, kind, stay = false) {
      if (!given && keepProblem) {
        keepProblem = false;
        return false;
      }
      // Another image is on its way, and its own change will follow, with the model of then.
      if (awaited !== null && (stay || given?.orig_name !== awaited)) {
        if (!stay) late.delete(given?.orig_name);
        return false;
      }
      if (given && given !== latest && awaited === null && late.delete(given.orig_name)) {
        act("submit");
        return false;
      }
      if (given && given.orig_name === dropped) {
        dropped = null;
        act("clear");
        return false;
      }
      const choice = given ? `${given.path} ${kind}` : "";
      // Gradio sometimes tells of one change twice.
      if (given && awaited === null && choice === begun && root.dataset.check !== "empty") return false;
      begun = choice;
      latest = given;
      if (awaited === null) {
        tickets.check += 1;
        moveFocus = !stay;
        image.name = given?.orig_name || image.name;
      }
      awaited = null;
      if (!given) {
        if (root.dataset.check !== "empty") setState("empty");
        act("delete");
      } else {
        if (!image.preview) preview(given.url);
        for (const one of document.querySelectorAll("[data-fill=wait]"))
          one.textContent = kind === "fast" ? "Checking … (about a second)" : "Checking with the larger model … (the first time takes a few seconds)";
        setState("busy");
        request = [given, kind, tickets.check];
        act("apply");
      }
      return Boolean(given);
    },
    request: () => request,
    // What stands in place of an answer that is gone: of no ticket, so that it is never shown.
    nothing: () => '<div data-area="check" data-ticket="-1"></div>',
    // The models were changed: the focus stays where it is.
    other(given, kind) {
      return this.begin(given, kind, true);
    },
    ticket: () => tickets.check,
    // Puts the image that counts back in the place of a late one.
    latest: () => latest,
    beginBatch(files, kind) {
      tickets.batch += 1;
      return [files, kind, tickets.batch];
    },
    batch: () => tickets.batch,
    label: (files) => (files?.length ? `Check ${files.length} image${files.length > 1 ? "s" : ""}` : "Check the images"),
    row: 0,
    // A row of the table of many images was chosen: it is answered on the first tab.
    openRow(name, address) {
      replace(name, address);
      document.querySelector("[role=tab]")?.click();
    },
    // The server keeps a file under a name without special characters, and Gradio gives that one.
    loadRow(files) {
      if (awaited !== null) awaited = files[this.row].path.split(/[\\/]/).pop();
      return [files, this.row];
    },
  };

  // Files that a browser may not call images: Gradio would refuse them before the server sees them.
  // Archives of clinics name files without an ending.
  const more = ".heic,.heif,.hif,.avif,.dcm,.dicom";
  const uncalled = (file) => !file.type.startsWith("image/") && /(\.(heic|heif|hif|avif|dcm|dicom)|^[^.]+)$/i.test(file.name);

  // Show what belongs to the latest change, hide all else.
  const refresh = () => {
    for (const input of document.querySelectorAll("#image input[type=file]"))
      if (!input.accept.endsWith(more)) input.accept += `,${more}`;
    const people = document.querySelector("#prevalence input[type=range]")?.value;
    for (const one of document.querySelectorAll("[data-of]")) {
      const other = (model && one.dataset.of !== model) || (one.dataset.people && one.dataset.people !== people);
      if (one.hasAttribute("data-other") !== Boolean(other)) one.toggleAttribute("data-other", Boolean(other));
    }
    for (const one of document.querySelectorAll("[data-ticket]")) {
      const current = Number(one.dataset.ticket) === tickets[one.dataset.area];
      if (one.hasAttribute("data-current") !== current) one.toggleAttribute("data-current", current);
    }
    const shown = document.querySelector("#answer [data-current]");
    if (shown && awaited === null && root.dataset.check === "busy") {
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
      .filter((one) => !one.closest("[data-ticket]:not([data-current]), [data-other]") && one.offsetParent !== null)
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

  // Gradio tells of failures in messages of its own. An upload was refused: the page goes back. The
  // connection was lost: nothing that is awaited comes any more, and nothing can be asked for.
  const failed = () => {
    const messages = [...document.querySelectorAll(".toast-body.error")].map((one) => one.textContent);
    const lost = messages.some((text) => text.includes("Connection to the server was lost"));
    if (lost && root.dataset.check === "busy") {
      tickets.check += 1;
      awaited = null;
      setState("lost");
    } else if (!lost && root.dataset.check === "lost") clear();
    else if (awaited !== null && messages.length) {
      awaited = null;
      setState("empty");
    }
    if (lost && document.querySelector("#table [data-current] progress")) {
      tickets.batch += 1;
      refresh();
    }
  };

  document.addEventListener(
    "change",
    (event) => {
      if (!event.target.matches("#image input[type=file]") || !event.target.files.length) return;
      if (uncalled(event.target.files[0])) {
        event.stopPropagation();
        upload(event.target.files[0]);
      } else replace(event.target.files[0].name, URL.createObjectURL(event.target.files[0]));
    },
    true,
  );
  document.addEventListener(
    "click",
    (event) => {
      const example = event.target.closest("#examples button");
      if (!example) return;
      const names = JSON.parse(document.querySelector("[data-examples]").dataset.examples);
      const place = [...document.querySelectorAll("#examples button")].indexOf(example);
      replace(names[place], example.querySelector("img")?.src || "");
    },
    true,
  );
  // The model and the number of people are those of the figures that are seen, from this moment on.
  for (const kind of ["input", "change", "click"])
    document.addEventListener(kind, (event) => {
      if (event.target.matches("#kind input")) model = event.target.value;
      if (event.target.closest("#kind, #prevalence, [role=tab]")) setTimeout(refresh);
    });
  // Gives a file to Gradio's upload, whatever the first tab shows.
  const upload = (file) => {
    if (root.dataset.check !== "empty") clear();
    const give = (tries) => {
      const input = document.querySelector("#image input[type=file]");
      if (!input) return tries && setTimeout(give, 50, tries - 1);
      const carrier = new DataTransfer();
      carrier.items.add(uncalled(file) ? new File([file], file.name, { type: "image/x-other" }) : file);
      input.files = carrier.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    };
    give(20);
  };
  const onFirstTab = () => document.getElementById("image")?.closest("[role=tabpanel]")?.offsetParent !== null;
  // An image can be dropped anywhere on the first tab; a browser would leave the page for it.
  document.addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
  document.addEventListener(
    "drop",
    (event) => {
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      if (event.target.closest("#image") && uncalled(file)) {
        event.preventDefault();
        event.stopPropagation();
        upload(file);
      } else if (event.target.closest("#image")) replace(file.name, URL.createObjectURL(file));
      else if (!event.target.closest("#files")) {
        event.preventDefault();
        if (onFirstTab()) upload(file);
      }
    },
    true,
  );
  // Ctrl+V pastes an image anywhere on the first tab.
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
    if (!file || !onFirstTab()) return;
    event.preventDefault();
    upload(file);
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
