"use strict";
/* A page that was opened from disk may start no worker; the search then runs in a hidden frame. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = []; // until the script of the frame listens
      this.frame = Object.assign(document.createElement("iframe"), { hidden: true, title: "Search" });
      document.body.append(this.frame);
      this.frame.contentWindow.postMessage = data =>
        this.dispatchEvent(new MessageEvent("message", { data }));
      const script = this.frame.contentDocument.createElement("script");
      script.src = new URL(address, location.href).href;
      script.onload = () => {
        const held = this.waiting;
        this.waiting = null;
        held.forEach(data => this.postMessage(data));
      };
      this.frame.contentDocument.body.append(script);
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() { this.frame.remove(); }
  };
}
