"use strict";
/* Code and tables that scroll sideways can be reached with the keyboard. */
(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const reach = () => document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach(e => {
    if (e.scrollWidth > e.clientWidth) e.tabIndex = 0;
  });
  window.addEventListener("load", () => requestAnimationFrame(reach));
  window.addEventListener("resize", reach);
})();
