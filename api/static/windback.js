// Windback's browser helper.
//
//   <script src="https://YOUR-WINDBACK/windback.js" data-key="pk_live_…" data-email="jane@example.com"></script>
//   windback.track("feature_used", { feature: "exports" });
//
// Where a tag manager drops attributes: windback.init({ key: "pk_live_…", url: "https://YOUR-WINDBACK" }).
// data-email may come later: windback.identify("jane@example.com"). Events before the first address wait for it;
// windback.identify(null) is a sign-out, after which nothing is tracked until the next address.
//
// An event keeps the address and the properties that it was tracked with. Nothing is ever thrown. Requests hold at most
// BYTES: a browser sends no more than 64 KiB of all requests together (keepalive) when a page is left. An event that
// can't be sent is dropped after three tries, alone; the console says once why.
(() => {
  "use strict";
  if (typeof document === "undefined") return; // bundled for a server
  const MOST = 100;
  const KEPT = 1000;
  const BYTES = 48 * 1024;
  const LEAVING_BYTES = 60 * 1024; // of all requests together when a page is left,
  const PORTION_BYTES = 10 * 1024; // in small ones: what fits goes
  const PAUSES = [1000, 4000];
  const HALF = /\\(?:\\|u[dD][89a-fA-F][0-9a-fA-F]{2})/g; // a lone surrogate, as JSON.stringify writes it

  const warned = new Set();
  function say(text, error) {
    try {
      if (!warned.has(text)) console.warn(`windback: ${text}`, ...(error === undefined ? [] : [error]));
      warned.add(text);
    } catch {}
  }

  function safely(act) {
    return (...values) => {
      try {
        act(...values);
      } catch (error) {
        say("an event can't be sent", error);
      }
    };
  }

  const isOurs = (tag) => /\/windback\.js([?#]|$)/.test(tag.src || "");
  const script = document.currentScript || [...document.scripts].reverse().find(isOurs) || { dataset: {}, src: "" };
  const earlier = window.windback;
  if (earlier && earlier.isLoaded) {
    earlier.init({ ...script.dataset }); // loaded twice: the first goes on
    return;
  }

  let url = null;
  let key = null;
  let email = null;
  let isKnown = false; // whether there was any address yet
  let early = []; // written events from before the first address
  let queue = []; // written events that wait to be sent
  let timer = null;
  let leavingBytes = 0; // of requests under way that outlive the page
  const underWay = new Set(); // written events in requests that end with the page
  const resting = new Map(); // timers of events that are tried again, with the events

  function init(options) {
    const given = options || {};
    if (given.url) url = new URL("api/v1/track", new URL(given.url, location.href).href.replace(/\/*$/, "/")).href;
    if (given.key && String(given.key).trim()) key = String(given.key).trim();
    if (given.email) identify(given.email);
    soon();
  }

  function write(event, properties) {
    const event_id = `js-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 12)}`;
    const written = JSON.stringify({ event, properties, event_id }); // no timestamp: visitors' clocks are often wrong
    return written.replace(HALF, (found) => (found.length > 2 ? "\\ufffd" : found));
  }

  const owned = (written, address) => `${written.slice(0, -1)},"customer_email":${JSON.stringify(address)}}`;
  const sizeOf = (text) => new TextEncoder().encode(text).length;

  function track(event, properties) {
    const written = write(event, properties);
    if (email) queue.push(owned(written, email));
    else if (!isKnown) early.push(written);
    else return say("nobody is signed in; call windback.identify with an address before windback.track");
    queue = queue.slice(-KEPT);
    early = early.slice(-KEPT);
    soon();
  }

  function identify(address) {
    if (address === null || address === undefined || address === "") {
      email = null;
    } else if (typeof address !== "string" || !address.includes("@")) {
      say(`windback.identify takes an e-mail address or null, not ${typeof address}`);
    } else {
      email = address.trim();
      isKnown = true;
      queue.push(...early.map((written) => owned(written, email)));
      early = [];
      soon();
    }
  }

  function soon() {
    timer = timer || setTimeout(flush, 200);
  }

  // Events in portions for requests: at most MOST, and at most so many bytes unless a single one is larger.
  function portions(events, most) {
    const found = [];
    let size = Infinity;
    for (const written of events) {
      const bytes = sizeOf(written) + 1;
      if (size + bytes > most || found[found.length - 1].length >= MOST) {
        found.push([]);
        size = 0;
      }
      found[found.length - 1].push(written);
      size += bytes;
    }
    return found;
  }

  function flush(isLeaving) {
    clearTimeout(timer);
    timer = null;
    if (!queue.length) return;
    if (!key || !url) return say(key ? "no address of the service: give it to windback.init" : "no key (data-key): nothing is sent");
    const limit = isLeaving === true ? PORTION_BYTES : BYTES;
    for (const events of portions(queue.splice(0), limit)) send(events, 0, isLeaving === true);
  }

  // Sends once more, so that it outlives the page, what is under way in requests that don't, or rests. An event that
  // comes twice is stored once, by its event_id.
  function leave() {
    for (const [retry, events] of resting) {
      clearTimeout(retry);
      queue.unshift(...events);
    }
    resting.clear();
    queue.unshift(...underWay);
    flush(true);
  }

  function rest(events, tries) {
    const retry = setTimeout(
      safely(() => {
        resting.delete(retry);
        send(events, tries + 1, false);
      }),
      PAUSES[tries],
    );
    resting.set(retry, events);
  }

  function send(events, tries, isLeaving) {
    const body = `{"events":[${events.join(",")}]}`;
    const bytes = sizeOf(body);
    const keepalive = isLeaving && leavingBytes + bytes <= LEAVING_BYTES;
    leavingBytes += keepalive ? bytes : 0;
    events.forEach((written) => keepalive || underWay.add(written));
    const done = () => {
      leavingBytes -= keepalive ? bytes : 0;
      events.forEach((written) => underWay.delete(written));
    };
    const again = (reason) => {
      done();
      if (tries < PAUSES.length) rest(events, tries);
      else say("events are lost after three tries", reason);
    };
    const answered = (answer) => {
      if (answer.status === 429 || answer.status >= 500) return again(`the service answers ${answer.status}`);
      done();
      if (answer.status === 400 || answer.status === 413) return refused(events, answer.status);
      if (answer.status === 401 || answer.status === 403) return say("the key (data-key) is unknown, revoked or not allowed");
      if (!answer.ok) return say(`the service refuses events (${answer.status})`);
      if (answer.status === 207) say("some events were refused; the dashboard lists them under Events");
    };
    let request;
    try {
      const headers = { "Content-Type": "application/json", "X-API-Key": key };
      request = fetch(url, { method: "POST", keepalive, headers, body });
    } catch (error) {
      return again(error); // a page's own fetch may throw
    }
    Promise.resolve(request).then(safely(answered), safely(again));
  }

  // What makes a request unreadable or too large is one event: the others go alone.
  function refused(events, status) {
    if (events.length === 1) return say(`an event was refused (${status})`);
    const half = Math.ceil(events.length / 2);
    send(events.slice(0, half), 0, false);
    send(events.slice(half), 0, false);
  }

  window.windback = { track: safely(track), identify: safely(identify), flush: safely(flush), init: safely(init), isLoaded: true };
  addEventListener("pagehide", safely(leave));
  document.addEventListener("visibilitychange", safely(() => document.visibilityState === "hidden" && leave()));
  safely(() => {
    if (script.src) url = new URL("api/v1/track", script.src).href;
    init({ ...script.dataset, url: script.dataset.url || null });
  })();
})();
