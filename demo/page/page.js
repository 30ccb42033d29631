// What happens in the browser alone: choosing a map, its opacity, and saying results to screen readers.
// Listeners sit on the document, because Gradio replaces the HTML of an answer as a whole.
(() => {
  "use strict";

  const show = (map) => {
    const target = map.querySelector(".derm-for");
    const against = map.querySelector(".derm-against");
    const seven = target.selectedOptions[0].parentElement === target.querySelector("optgroup");
    // A class is not contrasted with itself, and benign and malignant leave no third one.
    for (const option of against.options) option.disabled = option.value !== "" && (!seven || option.value === target.value);
    if (against.selectedOptions[0].disabled) against.value = "";
    const key = `${target.value}|${against.value}`;
    for (const one of map.querySelectorAll(".derm-of")) one.classList.toggle("on", one.dataset.of === key);
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches(".derm-for, .derm-against")) show(event.target.closest(".derm-map"));
  });

  document.addEventListener("input", (event) => {
    if (event.target.matches(".derm-opacity"))
      event.target.closest(".derm-map").style.setProperty("--heat", event.target.value / 100);
  });

  // Gradio shows the images to try as buttons without a name.
  const nameExamples = () => {
    const what = document.querySelector("#examples .label")?.textContent.trim();
    const buttons = [...document.querySelectorAll("#examples .gallery-item")];
    for (const [at, one] of buttons.entries()) one.setAttribute("aria-label", `${what}: ${at + 1} of ${buttons.length}`);
  };

  // Gradio puts a button into a button, whose name it does not translate: the inner one is the one to press.
  const nameUpload = () => {
    const outer = document.querySelector('#files [aria-label="common.upload"]');
    if (!outer) return;
    outer.setAttribute("aria-label", "Upload other files");
    outer.setAttribute("title", "Upload other files");
    outer.setAttribute("role", "group");
    outer.tabIndex = -1;
  };

  // The commands in a model card are scrolled sideways where they are too long: with the keyboard, too.
  const reachCode = () => {
    for (const one of document.querySelectorAll(".code_wrap > pre")) one.tabIndex = 0;
  };

  // One line that stays in the page and says the headline of whatever was just shown.
  const start = () => {
    if (!document.documentElement.lang) document.documentElement.lang = "en";
    const line = document.createElement("div");
    line.className = "derm-hidden";
    line.id = "derm-live";
    line.setAttribute("role", "status");
    line.setAttribute("aria-live", "polite");
    document.body.append(line);
    let said = new Set();
    const current = {};
    // A result that was still on its way when its image was replaced or removed must not be seen.
    const hideStale = () => {
      const kind = (mark) => mark.split("-")[0];
      for (const one of document.querySelectorAll("[data-now]")) current[kind(one.dataset.now)] = one.dataset.now;
      for (const one of document.querySelectorAll("[data-of^=image-], [data-of^=files-]"))
        one.hidden = current[kind(one.dataset.of)] !== one.dataset.of;
    };
    new MutationObserver(() => {
      hideStale();
      nameExamples();
      nameUpload();
      reachCode();
      const found = [...document.querySelectorAll("[data-say]")].filter((one) => !one.closest("[hidden]")).map((one) => one.dataset.say);
      const fresh = found.filter((text) => !said.has(text));
      said = new Set(found);
      if (fresh.length) line.textContent = fresh.join(" ");
    }).observe(document.body, { childList: true, subtree: true });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})();
