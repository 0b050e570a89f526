// Windback's browser helper.
//
//   <script src="https://YOUR-WINDBACK/windback.js" data-key="pk_live_…" data-email="jane@example.com"></script>
//   windback.track("feature_used", { feature: "exports" });
//
// data-email may come later: windback.identify("jane@example.com"). Events sent before are kept until then. Nothing is
// ever thrown: an event that can't be sent is dropped after three tries, and the page goes on.
(() => {
  "use strict";
  const script = document.currentScript;
  const url = new URL("/api/v1/track", script.src).href;
  const key = script.dataset.key;
  const MOST = 100;
  const PAUSES = [1000, 4000];
  let email = script.dataset.email || null;
  let waiting = [];
  let timer = null;

  function send(events, tries) {
    const again = () => {
      if (tries < PAUSES.length) setTimeout(() => send(events, tries + 1), PAUSES[tries]);
    };
    fetch(url, {
      method: "POST",
      keepalive: true,
      headers: { "Content-Type": "application/json", "X-API-Key": key },
      body: JSON.stringify({ events }),
    }).then((answer) => (answer.status === 429 || answer.status >= 500 ? again() : null), again);
  }

  function flush() {
    timer = null;
    if (!email) return;
    while (waiting.length) {
      send(waiting.splice(0, MOST).map((event) => ({ ...event, customer_email: email })), 0);
    }
  }

  function track(event, properties) {
    const id = `js-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 12)}`;
    waiting.push({ event, properties, event_id: id }); // no timestamp: visitors' clocks are often wrong
    waiting = waiting.slice(-10 * MOST);
    timer = timer || setTimeout(flush, 200);
  }

  function identify(address) {
    email = address;
    flush();
  }

  addEventListener("pagehide", flush);
  window.windback = { track, identify, flush };
})();
