// A record at a time, marked by buttons or keys; marks kept in the browser's storage and saved as CSV.
addEventListener("DOMContentLoaded", () => {
  const { sample, criteria, keys, reviewers, records } = JSON.parse(document.getElementById("data").textContent);
  const get = id => document.getElementById(id);
  const radios = name => [...get("marks").elements[name]];

  let reviewer = ""; // whose marks these are
  let own = []; // the records that this reviewer reads
  let marks = {}; // by the record's id: yes or no for each criterion, and the comment
  let at = 0;
  let saved = true; // whether a file or the storage has every mark

  const stored = name => "mvpbench-review " + sample + " " + name;
  const recall = key => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const keep = (key, text) => {
    try {
      localStorage.setItem(key, text);
      get("lost").textContent = "";
      return true;
    } catch {
      get("lost").textContent = "This browser keeps no marks: save them as CSV before you close the page.";
      return false;
    }
  };

  const of = record => marks[record.id] || {};
  const isWhole = record => criteria.every(name => of(record)[name]);
  const isMarked = record => criteria.some(name => of(record)[name]) || (of(record).comment || "").trim() !== "";

  const count = () => {
    const done = own.filter(isWhole).length;
    get("progress").max = Math.max(1, own.length);
    get("progress").value = done;
    get("done").textContent = done + " of " + own.length + " have all marks";
    get("unmarked").disabled = done === own.length;
  };

  const change = (name, value) => {
    const mark = of(own[at]);
    marks[own[at].id] = mark;
    if (value) mark[name] = value;
    else delete mark[name];
    saved = keep(stored(reviewer), JSON.stringify(marks));
    get("saved").textContent = "";
    count();
  };

  const show = (to, focuses) => {
    at = Math.min(Math.max(0, Math.trunc(to) || 0), own.length - 1);
    const record = own[at];
    get("title").textContent = "Record " + record.id;
    for (const name of ["question", "answer_w", "answer_l"]) get(name).textContent = record[name];
    get("preference").textContent = record.preference || "not stated";
    get("profile").replaceChildren(...record.profile.flatMap(([name, value]) => {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name.replaceAll("_", " ");
      text.textContent = value;
      text.dir = "auto";
      return [term, text];
    }));
    for (const name of criteria) {
      for (const radio of radios(name)) radio.checked = of(record)[name] === radio.value;
    }
    get("comment").value = of(record).comment || "";
    get("place").value = at + 1;
    get("place").max = own.length;
    get("count").textContent = "of " + own.length;
    get("previous").disabled = at === 0;
    get("next").disabled = get("after").disabled = at === own.length - 1;
    count();
    if (focuses) get("title").focus();
  };

  const unmarked = () => {
    const order = own.map((_, i) => (at + 1 + i) % own.length);
    const next = order.find(i => !isWhole(own[i]));
    if (next !== undefined) show(next, true);
  };

  // What a spreadsheet would run as a formula gets an apostrophe, as in sample.csv.
  const field = text => {
    const guarded = /^['\s]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) ? "'" + text : text;
    return /[",\r\n]/.test(guarded) ? '"' + guarded.replaceAll('"', '""') + '"' : guarded;
  };
  const csv = () => {
    const columns = ["sample", "id", "sha256", ...criteria, "comment", "reviewer"];
    const row = record => {
      const mark = of(record);
      const values = criteria.map(name => mark[name] || "");
      return [sample, record.id, record.sha256, ...values, (mark.comment || "").trim(), reviewer];
    };
    const rows = [columns, ...own.filter(isMarked).map(row)];
    return "\ufeff" + rows.map(cells => cells.map(field).join(",") + "\r\n").join("");
  };
  const save = () => {
    const marked = own.filter(isMarked).length;
    if (!marked) {
      get("saved").textContent = "Nothing is marked yet.";
      return;
    }
    const plain = reviewer.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") || "reviewer";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
    link.download = "marks-" + plain + "-" + sample + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    saved = true;
    get("saved").textContent = "Saved the marks of " + marked + " of " + own.length + " records as " + link.download;
  };

  const start = () => {
    const name = get("name").value.trim().normalize("NFC");
    const refuse = why => {
      get("refused").textContent = why;
      get("name").focus();
    };
    if (!name) return refuse("Enter your name: the file of marks carries it.");
    if (/^judge:/i.test(name)) return refuse("Names that begin with judge: are those of models.");
    get("refused").textContent = "";
    reviewer = name;
    keep("mvpbench-review name", name);
    const number = Number(get("number").value);
    own = records.filter(record => record.for === null || record.for === number);
    if (!own.length) return refuse("No record of the sample is for this number.");
    try {
      marks = JSON.parse(recall(stored(name)) || "{}");
    } catch {
      marks = {};
    }
    get("start").hidden = true;
    get("review").hidden = false;
    const first = own.findIndex(record => !isWhole(record));
    show(first < 0 ? 0 : first, true);
  };

  get("start").addEventListener("submit", event => {
    event.preventDefault();
    start();
  });
  get("marks").addEventListener("submit", event => event.preventDefault());
  get("marks").addEventListener("change", event => {
    if (event.target.type === "radio") change(event.target.name, event.target.value);
  });
  get("comment").addEventListener("input", () => change("comment", get("comment").value));
  get("previous").addEventListener("click", () => show(at - 1, true));
  for (const id of ["next", "after"]) get(id).addEventListener("click", () => show(at + 1, true));
  get("unmarked").addEventListener("click", unmarked);
  get("place").addEventListener("change", () => show(Number(get("place").value) - 1, false));
  get("clear").addEventListener("click", () => {
    for (const name of [...criteria, "comment"]) change(name, "");
    show(at, false);
  });
  get("save").addEventListener("click", save);
  get("leave").addEventListener("click", () => {
    get("review").hidden = true;
    get("start").hidden = false;
    get("name").focus();
  });

  addEventListener("keydown", event => {
    const isTyping = event.target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
    if (get("review").hidden || !get("keys").checked || isTyping || event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    const place = keys.findIndex(both => both.includes(key));
    if (place >= 0) {
      const value = keys[place][0] === key ? "yes" : "no";
      const name = criteria[place];
      change(name, of(own[at])[name] === value ? "" : value);
      for (const radio of radios(name)) radio.checked = of(own[at])[name] === radio.value;
    } else if (key === "j") show(at + 1, true);
    else if (key === "k") show(at - 1, true);
    else if (key === "u") unmarked();
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", event => {
    if (!saved) event.preventDefault();
  });

  for (let number = 1; number <= reviewers; number++) get("number").append(new Option(number + " of " + reviewers, number));
  get("numbered").hidden = reviewers < 2;
  get("name").value = recall("mvpbench-review name") || "";
  get("person").open = !matchMedia("(max-width: 40rem)").matches;
  get("start").hidden = false;
});
