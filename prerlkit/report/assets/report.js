"use strict";
/* The browser of completions. Everything that a model or a data set wrote goes into the page as text, never as markup. */
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const { el } = prerlkit;
  const PAGE = matchMedia("(max-width: 40rem)").matches ? 3 : 8;
  let limit = PAGE;

  /* What tokens may be coloured by, in the order of a token's three values. */
  const TINTS = [
    { name: "Δ log P(y|x)", up: "likelier behind its prompt after this step's update", down: "less likely" },
    { name: "Δ log P(y)", up: "likelier without its prompt after this step's update", down: "less likely" },
    { name: "log P(y|x) − log P(y)", up: "likelier because of the prompt", down: "likelier without the prompt" },
  ];
  const tintOf = () => (form.elements.tint.value === "" ? null : Number(form.elements.tint.value));

  const number = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));

  function fill(select, first, values) {
    const now = select.value;
    const options = [el("option", { value: "" }, first), ...values.map((value) => el("option", { value }, value))];
    if (select.options.length === options.length) return;
    select.replaceChildren(...options);
    select.value = values.includes(now) ? now : "";
  }

  function choices(runs) {
    fill(form.elements.run, "all", runs.map((run) => run.name));
    form.querySelector('[data-for="run"]').hidden = runs.length < 2;
    const coloured = runs.some((run) => run.groups.some((group) => group.completions.some((one) => one.shown)));
    form.querySelector('[data-for="tint"]').hidden = !coloured;
    if (!coloured) form.elements.tint.value = "";
    fill(form.elements.stage, "all", [...new Set(runs.flatMap((run) => run.stages))]);
  }

  function completionFits(wanted) {
    const { verdict, low, high } = wanted;
    return (one) => {
      if (verdict === "passed" && one.passed !== true) return false;
      if (verdict === "failed" && one.passed !== false) return false;
      if (verdict === "unjudged" && one.passed !== null) return false;
      if (verdict === "truncated" && !one.truncated) return false;
      if (low !== null && (one.score === null || one.score < low)) return false;
      return high === null || (one.score !== null && one.score <= high);
    };
  }

  function groupFits(group, prompt, wanted) {
    if (wanted.stage && group.stage !== wanted.stage) return false;
    if (wanted.tint !== null && !group.completions.some((one) => one.shown)) return false;
    if (wanted.first !== null && group.step < wanted.first) return false;
    if (wanted.last !== null && group.step > wanted.last) return false;
    if (!wanted.text) return true;
    const words = wanted.text.toLowerCase();
    return prompt.toLowerCase().includes(words) || group.completions.some((one) => one.text.toLowerCase().includes(words));
  }

  function search() {
    const value = (name) => form.elements[name].value;
    const wanted = {
      stage: value("stage"), verdict: value("verdict"), text: value("text").trim(),
      tint: tintOf(), low: number("low"), high: number("high"), first: number("first"), last: number("last"),
    };
    const boxes = document.querySelector("[data-group]") ? prerlkit.visibleGroups() : null;
    const fits = completionFits(wanted), found = [];
    for (const run of prerlkit.data("rollouts")) {
      if ((value("run") && run.name !== value("run")) || (boxes && !boxes.has(run.name))) continue;
      for (const group of run.groups) {
        const prompt = run.prompts[group.prompt];
        if (!groupFits(group, prompt, wanted)) continue;
        const completions = group.completions.filter(fits);
        if (completions.length) found.push({ run, group, prompt, completions });
      }
    }
    const sign = value("order") === "up" ? 1 : -1;
    return found.sort((a, b) => sign * (a.group.step - b.group.step));
  }

  const verdictOf = (one) => (one.passed === null ? "unjudged" : one.passed ? "passed" : "failed");
  const CHIPS = { passed: "good", failed: "bad", unjudged: "warn" };
  const signed = (value) => (value > 0 ? `▲ +${value}` : value < 0 ? `▼ −${-value}` : "0");

  const nats = (value) => (value > 0 ? `+${value}` : value < 0 ? `−${-value}` : "0");

  /* The value that gets the full colour: of a hundred tokens of the group five are beyond it. */
  function fullColour(group, tint) {
    const sizes = group.completions.flatMap((one) => (one.shown ? one.shown.values[tint] : [])).filter((value) => value !== null).map(Math.abs);
    return sizes.sort((a, b) => a - b)[Math.floor(0.95 * (sizes.length - 1))] || Math.max(0, ...sizes) || 1;
  }

  const scale = (tint, full) => el("span", { class: "scale" },
    el("span", {}, `${TINTS[tint].name}, nats a token:`), el("span", {}, `−${full}`), el("i", { "aria-hidden": "true" }), el("span", {}, `+${full}`));

  /* Tokens with their colours, and a line that says the numbers of one: pointed at, tapped, or reached by arrow keys. */
  function tokens(one, tint, full, verdict) {
    const { pieces, values } = one.shown, says = el("p", { class: "token-says", "aria-live": "polite" }, "");
    const made = pieces.map((piece, n) => {
      const value = values[tint][n], strength = value === null ? 0 : Math.min(1, Math.abs(value) / full);
      const token = el("span", { class: `token${value < 0 && strength >= 0.2 ? " down" : ""}` }, piece);
      if (strength > 0) token.style.background = `rgba(var(--${value > 0 ? "up" : "down"}), ${(0.45 * strength).toFixed(3)})`;
      return token;
    });
    const box = el("div", { class: "written mono", dir: "auto", tabindex: "0", role: "group", "aria-label": `Completion by tokens, ${verdict}; arrow keys go through them` }, ...made);
    let at = -1;
    const say = (n) => {
      made[at]?.classList.remove("current");
      at = n;
      made[at].classList.add("current");
      const said = TINTS.map((each, k) => (values[k][at] === null ? null : `${each.name} ${nats(values[k][at])}`)).filter(Boolean);
      says.textContent = `${JSON.stringify(pieces[at])}: ${said.join(", ") || "left out"}`;
    };
    const point = (event) => { const n = made.indexOf(event.target); if (n >= 0 && n !== at) say(n); };
    box.addEventListener("pointerover", point);
    box.addEventListener("click", point);
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      say(Math.min(made.length - 1, Math.max(0, at + step)));
      made[at].scrollIntoView({ block: "nearest" });
    });
    return [box, says];
  }

  function completion(one, strongest, tint, full) {
    const verdict = verdictOf(one), byToken = tint !== null && one.shown, tinted = one.trained && one.advantage;
    const facts = [
      el("span", { class: `chip ${CHIPS[verdict]}` }, verdict),
      el("span", {}, `reward ${one.score === null ? "–" : +one.score.toFixed(3)}`),
      one.advantage === null ? null : el("span", {}, `advantage ${signed(one.advantage)}`),
      one.trained === false ? el("span", {}, "not trained on") : null,
      el("span", {}, `${one.tokens} tokens${one.truncated ? ", truncated" : ""}`),
      one.logprob === null ? null : el("span", {}, `${one.logprob} nats a token`),
      byToken ? el("span", {}, `${TINTS[tint].name} ${nats(one.shown.sums[tint])} in all`) : null,
    ];
    const text = el("div", { class: "written mono", dir: "auto", tabindex: "0", role: "group", "aria-label": `Completion, ${verdict}` },
      one.text === "" ? el("span", { class: "empty" }, "nothing") : one.text);
    if (tinted && tint === null) {
      const strength = 0.06 + 0.16 * Math.min(1, Math.abs(one.advantage) / strongest);
      text.style.background = `rgba(var(--${one.advantage > 0 ? "plus" : "minus"}), ${strength.toFixed(3)})`;
    }
    const cut = one.characters > one.text.length ? `${one.characters.toLocaleString("en")} characters, the middle is cut out. ` : "";
    const why = [cut + one.reason, one.details].filter(Boolean).join(" · ");
    const side = tinted ? (one.advantage > 0 ? " plus" : " minus") : "";
    const body = byToken ? tokens(one, tint, full, verdict) : [text];
    return el("li", { class: `completion${side}` }, el("div", { class: "verdict" }, ...facts), ...body, why ? el("p", { class: "why" }, why) : null);
  }

  function card({ run, group, prompt, completions }) {
    const scores = group.completions.map((one) => one.score).filter((score) => score !== null);
    const mean = scores.length ? (scores.reduce((a, b) => a + b, 0) / scores.length).toFixed(3) : "–";
    const strongest = Math.max(...group.completions.map((one) => Math.abs(one.advantage ?? 0))) || 1;
    const all = group.completions.length, some = completions.length < all ? `${completions.length} of ${all} shown` : `${all} completions`;
    const several = prerlkit.data("rollouts").length > 1;
    const tint = tintOf(), full = tint === null ? 0 : fullColour(group, tint);
    return el("article", { class: "group" },
      el("header", {}, el("h3", {}, `Step ${group.step}`), el("span", {}, group.stage), several ? el("span", {}, run.name) : null,
        el("span", {}, group.id), el("span", {}, `mean reward ${mean}`), el("span", {}, some)),
      el("details", { class: "prompt", open: prompt.length < 400 }, el("summary", {}, "Prompt"), el("pre", { tabindex: "0", dir: "auto", "aria-label": "Prompt" }, prompt)),
      group.answer === null ? null : el("p", { class: "answer-line" }, "Gold answer ", el("code", {}, group.answer)),
      tint === null ? null : el("p", { class: "note" }, scale(tint, full)),
      el("ul", { class: "completions" }, ...completions.map((one) => completion(one, strongest, tint, full))));
  }

  function show() {
    const found = search(), place = document.getElementById("groups"), more = document.getElementById("more");
    place.replaceChildren(...found.slice(0, limit).map(card));
    const tint = tintOf(), legend = document.getElementById("legend");
    legend.hidden = tint === null;
    legend.textContent = tint === null ? "" : `Blue: ${TINTS[tint].up}. Orange and underlined: ${TINTS[tint].down}. The stripe at the left is the advantage. `
      + "Point at a token, or go through them with the arrow keys, for its numbers. Only groups whose tokens were recorded.";
    const total = prerlkit.data("rollouts").reduce((sum, run) => sum + run.groups.length, 0);
    document.getElementById("found").textContent = `${found.length} of ${total} groups${found.length > limit ? `, ${limit} of them below` : ""}.`;
    more.hidden = found.length <= limit;
  }

  function begin() {
    choices(prerlkit.data("rollouts"));
    show();
  }

  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { limit = PAGE; show(); }, 120);
  });
  form.addEventListener("reset", () => setTimeout(() => { limit = PAGE; show(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("more").addEventListener("click", () => { limit += PAGE; show(); });
  form.hidden = false;
  prerlkit.onUpdate(begin);
  begin();
})();
