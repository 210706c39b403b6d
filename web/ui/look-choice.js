// Light, dark or as the system has it, by hand.

import { look, setLook } from "../theme.js";

export class LookChoice {
  constructor() {
    const select = document.querySelector("#look");
    select.value = look();
    select.addEventListener("change", () => setLook(/** @type {import("../theme.js").Look} */ (select.value)));
    document.querySelector("#about-open").addEventListener("click", () => { select.value = look(); }); // another tab may have chosen
  }
}
