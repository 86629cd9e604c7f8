/* Widgets without a network: RequireJS finds every module in vendor/widgets, flat. Loaded after require.js. */
window.requirejs.config({
  baseUrl: document.currentScript.src.replace(/[^/]*$/, "vendor/widgets"),
  paths: { "@jupyter-widgets": ".", "@jupyter-widgets/html-manager/dist/libembed-amd": "embed-amd" },
});
/* The theme replaces icons by drawings. Nested, the icon stays, and with it what ipywidgets.Play holds on to. */
window.FontAwesomeConfig = { autoReplaceSvg: "nest" };
