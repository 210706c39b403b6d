// Tells whoever has too old a browser, where the page's modules can't: written for browsers of 2010, so that it runs
// there. What it asks for is the newest of what the page is made of.

(function () {
  "use strict";

  // (module (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt))
  var SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

  function lacking() {
    if (!("noModule" in document.createElement("script"))) return "JavaScript modules";
    if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(SIMD))) return "WebAssembly with SIMD";
    if (typeof OffscreenCanvas !== "function") return "OffscreenCanvas";
    if (typeof Promise.withResolvers !== "function" || typeof Array.prototype.toSorted !== "function") return "JavaScript of 2024";
    if (typeof Element.prototype.checkVisibility !== "function") return "checkVisibility";
    return "";
  }

  var lack = lacking();
  if (!lack) return;
  var notice = document.getElementById("too-old");
  notice.textContent = "This browser is too old for Lorakeet: it lacks " + lack + ". Chrome or Edge 119, Firefox 121, Safari 17.4 and everything newer can run it.";
  notice.removeAttribute("hidden");
  document.getElementById("status").textContent = "This browser is too old";
  document.getElementById("two-up-hint").textContent = "";
})();
