import { mount } from "svelte";
import App from "./shell/App.svelte";
import "./style/base.css";

const target = document.getElementById("app");
if (target !== null) {
  // What stood here was the first paint, before the script.
  target.replaceChildren();
  mount(App, { target });
}
