// What can be done with an answer, all in the browser: choose a map, copy, print, save.
(() => {
  "use strict";

  const ours = () => document.querySelector("#answer [data-current] .derm-answer");

  // Lay the map with this key over the photograph; "" shows the photograph alone.
  const show = (answer, key) => {
    for (const one of answer.querySelectorAll(".derm-of")) one.classList.toggle("on", one.dataset.map === key);
    for (const one of answer.querySelectorAll("[data-show]")) one.setAttribute("aria-pressed", String(one.dataset.show === key));
    answer.querySelector(".derm-stage").classList.toggle("derm-bare", key === "");
  };

  const chosen = (answer) => {
    const target = answer.querySelector(".derm-for");
    const against = answer.querySelector(".derm-against");
    const seven = target.selectedOptions[0].parentElement === target.querySelector("optgroup");
    // A class is not contrasted with itself, and benign and malignant leave no third one.
    for (const option of against.options) option.disabled = option.value !== "" && (!seven || option.value === target.value);
    if (against.selectedOptions[0].disabled) against.value = "";
    show(answer, `${target.value}|${against.value}`);
  };

  const today = () => new Date().toISOString().slice(0, 10);

  const name = () => window.dermhub.image.name || "image";

  const done = (text) => {
    const line = ours()?.querySelector(".derm-done");
    if (line) line.textContent = text;
  };

  // Pages that are not served over TLS have no clipboard of their own.
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const box = document.createElement("textarea");
      box.value = text;
      box.className = "derm-hidden";
      document.body.append(box);
      box.select();
      const copied = document.execCommand("copy");
      box.remove();
      if (!copied) return false;
    }
    return true;
  };

  const save = (file, text, kind) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  // The sheet of paper names the file and the day, which the server does not know or keep.
  const fill = () => {
    const answer = ours();
    if (!answer) return;
    answer.querySelector("[data-fill=date]").textContent = today();
    answer.querySelector("[data-fill=file]").textContent = name();
    answer.querySelector("[data-fill=photo]").src = answer.querySelector(".derm-photo").src;
  };

  const acts = {
    another: () => window.dermhub.clear(),
    anyway: () => {
      ours().classList.add("derm-anyway");
      ours().querySelector(".derm-verdict").scrollIntoView({ block: "nearest" });
      const heading = ours().querySelector(".derm-verdict h2");
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    },
    check: () => {
      const slot = ours().querySelector(".derm-slot");
      slot.innerHTML = '<p class="derm-note derm-busy">Checking ten altered copies …</p>';
      window.dermhub.act("click");
    },
    copy: async () => done((await copy(`${name()}, ${today()}\n${ours().dataset.text}`)) ? "Copied." : "The browser does not let this page copy."),
    print: () => window.print(),
    json: () => {
      const record = { file: name(), date: today(), ...JSON.parse(ours().dataset.record) };
      save(`dermhub-${name().replace(/\.\w+$/, "")}.json`, JSON.stringify(record, null, 2) + "\n", "application/json");
    },
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) acts[button.dataset.do]();
    const shown = event.target.closest("#answer [data-show]");
    if (shown) show(shown.closest(".derm-answer"), shown.dataset.show);
    const similar = event.target.closest("#answer [data-case]");
    if (similar) similar.setAttribute("aria-pressed", String(similar.getAttribute("aria-pressed") !== "true"));
    const row = event.target.closest("#table [data-row]");
    if (row) {
      window.dermhub.row = Number(row.dataset.row);
      window.dermhub.openRow(row.dataset.name, row.querySelector("img").src);
      document.getElementById("table").querySelector(".derm").dispatchEvent(new CustomEvent("derm", { bubbles: true, detail: "click" }));
    }
    const saved = event.target.closest("#table [data-csv]");
    if (saved) save("dermhub.csv", saved.dataset.csv, "text/csv;charset=utf-8");
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".derm-for, .derm-against")) chosen(event.target.closest(".derm-answer"));
  });
  window.addEventListener("beforeprint", fill);

  // Gradio's own parts, put right: names of buttons, and the keyboard where it can't be reached.
  window.dermhub.tidy = () => {
    // Gradio puts a button into a button, whose name it does not translate: the inner one is the one to press.
    const outer = document.querySelector('#files [aria-label="common.upload"]');
    if (outer) {
      outer.setAttribute("aria-label", "Upload other files");
      outer.setAttribute("title", "Upload other files");
      outer.setAttribute("role", "group");
      outer.tabIndex = -1;
    }
  };
})();
