// Before anything is drawn, so that a chosen theme does not flash: the one that was chosen, or the system's.
const dark = matchMedia("(prefers-color-scheme: dark)");
const chooseTheme = () => {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
};
dark.addEventListener("change", chooseTheme);
chooseTheme();
