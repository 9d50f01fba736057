// Answers: a page at a time, filtered by words. Those that are JSON become elements when their page is shown.
addEventListener("DOMContentLoaded", () => {
  const PAGE = 20;

  const element = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  };

  // The answers of a box as texts to search and as elements to show.
  const answersOf = box => {
    const list = box.querySelector(".list");
    const data = box.querySelector("script");
    if (!data) {
      const all = [...list.children];
      return { count: all.length, text: i => all[i].textContent, show: i => all[i].cloneNode(true) };
    }
    const all = JSON.parse(data.textContent);
    const show = i => {
      const sample = element("div", "");
      const entries = element("dl", "");
      sample.className = "sample";
      for (const [name, text] of all[i][1]) entries.append(element("dt", name), element("dd", text));
      sample.append(element("h" + box.dataset.rank, all[i][0]), entries);
      return sample;
    };
    return { count: all.length, text: i => all[i][0] + "\n" + all[i][1].flat().join("\n"), show };
  };

  const paged = box => {
    const answers = answersOf(box);
    if (PAGE >= answers.count) return;
    const every = Array.from({ length: answers.count }, (_, i) => i);
    const { set, noun } = box.dataset;
    let found = every;
    const [bar, shown] = [element("div", ""), element("div", "")];
    const [before, after] = [element("button", "Previous"), element("button", "Next")];
    const [page, words] = [element("input", ""), element("input", "")];
    const [pages, count] = [element("span", ""), element("output", "")];
    bar.className = "pager";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Pages of the answers of " + set);
    before.type = after.type = "button";
    Object.assign(page, { type: "number", min: 1, value: 1 });
    page.setAttribute("aria-label", "Page of the answers of " + set);
    words.type = "search";
    words.setAttribute("aria-label", "Filter the answers of " + set);
    const [jump, filter] = [element("label", "Page "), element("label", "Filter ")];
    jump.append(page, " ", pages);
    filter.append(words);
    bar.append(before, jump, after, filter, count);
    shown.className = "shown";

    const draw = to => {
      const last = Math.max(1, Math.ceil(found.length / PAGE));
      const at = Math.min(Math.max(1, Math.trunc(to) || 1), last);
      page.value = at;
      page.max = last;
      pages.textContent = "of " + last;
      before.disabled = at === 1;
      after.disabled = at === last;
      count.textContent = found === every ? every.length + " " + noun : found.length + " of " + every.length + " " + noun;
      shown.replaceChildren(...found.slice((at - 1) * PAGE, at * PAGE).map(answers.show));
    };
    before.addEventListener("click", () => draw(Number(page.value) - 1));
    after.addEventListener("click", () => draw(Number(page.value) + 1));
    page.addEventListener("change", () => draw(Number(page.value)));
    let waiting;
    words.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const wanted = words.value.toLowerCase();
        found = wanted ? every.filter(i => answers.text(i).toLowerCase().includes(wanted)) : every;
        draw(1);
      }, 150);
    });
    box.querySelector(".list").before(bar, shown);
    box.classList.add("paged");
    draw(1);
  };

  for (const box of document.querySelectorAll(".answers")) paged(box);
});
