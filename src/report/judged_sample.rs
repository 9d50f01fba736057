// A made-up folder of verdicts, included by unit tests and by tests of the whole program, which import what it names.

pub(crate) const MODELS: [&str; 3] = ["gpt-4o", "llama2-7b <b>", "deepseek-chat"];

/// Users of the countries by their place in the table of regions: 6 users, 2 and 1 in turn.
fn users(place: usize) -> usize {
    [6, 2, 1][place % 3]
}

/// Three answers a user of every country of PRISM; the models differ in how many are aligned.
fn lines(model: usize) -> Vec<VerdictLine> {
    let table = include_str!("../metrics/regions.csv");
    let rows = table.lines().filter(|line| !line.starts_with('#') && !line.contains(",spelling,"));
    let countries = rows.filter_map(|line| line.splitn(3, ',').nth(2));
    let mut lines = Vec::new();
    for (place, country) in countries.enumerate() {
        for user in 0..users(place) {
            for item in 0..3 {
                let yes = (place * 7 + user * 3 + item * 5 + model * 4) % 10 < 8 - 2 * model;
                let verdict = match lines.len() {
                    5 => Verdict::Unparsed,
                    6 => Verdict::Failed,
                    _ if yes => Verdict::Yes,
                    _ => Verdict::No,
                };
                let groups = [
                    ("country", country),
                    ("age", ["18-24 years old", "25-34 years old"][user % 2]),
                    ("gender", ["Female", "Male", "Non-binary / third gender"][user % 3]),
                    ("education", ["University Bachelors Degree", "Vocational"][user % 2]),
                    ("marital_status", ["Never been married", "Married"][user % 2]),
                ];
                lines.push(VerdictLine {
                    id: format!("{place}-{user}-{item}"),
                    user: Some(format!("user{place}-{user}")),
                    country: Some(country.into()),
                    source: "MVP_test".into(),
                    groups: groups.map(|(key, value)| (key.into(), value.into())).into(),
                    question: format!("What about {place} & <{item}>?"),
                    answer: "An answer.\nOf two lines.".into(),
                    verdict,
                    scores: None,
                    dimensions: Vec::new(),
                    judge: "deepseek-chat".into(),
                    reason: Some("it fits".into()),
                    opinions: vec![],
                });
            }
        }
    }
    lines
}

/// Three models over all countries, judged by one of them.
pub(crate) fn judged_folder() -> JudgedFolder {
    static FOLDER: OnceLock<JudgedFolder> = OnceLock::new();
    FOLDER.get_or_init(made).clone()
}

fn made() -> JudgedFolder {
    let calibration = Calibration { accepted: 180, preferred: 200, refused: 170, rejected: 200 };
    let verdicts: Vec<Vec<VerdictLine>> = (0..MODELS.len()).map(lines).collect();
    let items: Vec<Vec<Judged>> =
        verdicts.iter().map(|lines| lines.iter().map(Judged::from).collect()).collect();
    let measured = MODELS.iter().zip(&items);
    let results: Vec<ModelResult> = measured
        .map(|(name, items)| ModelResult::measure(name, items, Some(&calibration), 10))
        .collect();
    let differences = (0..MODELS.len()).flat_map(|i| (i + 1..MODELS.len()).map(move |j| (i, j)));
    let differences = differences
        .filter_map(|(i, j)| models::difference((MODELS[i], &items[i]), (MODELS[j], &items[j])))
        .collect();
    let countries = models::countries(&results);
    let models = results.into_iter().map(|result| JudgedModel {
        answered_by: Some(AnsweredBy {
            model: result.name.clone(),
            endpoint: "openai".into(),
            served: vec![format!("{}-2024", result.name)],
            adapter: String::new(),
            sha256: String::new(),
        }),
        answers_sha256: "2".repeat(64),
        asked_sha256: "3".repeat(64),
        blank: 0,
        cut: 4,
        verdicts: PaaFolder::verdicts_name(&result.name),
        result,
    });
    let evaluation = PaaEvaluation {
        version: "0.1.0".into(),
        command: "mvpbench judge --endpoint deepseek".into(),
        date: "2026-11-26 12:00 UTC".into(),
        protocol: ProtocolUsed {
            name: "paa-paper.toml".into(),
            sha256: "0123456789abcdef0123".into(),
            kind: "yes_no".into(),
            blind: false,
            repetitions: 1,
            temperature: 0.0,
            thresholds: None,
        },
        judges: vec![JudgeUsed {
            name: "deepseek-chat".into(),
            place: "deepseek".into(),
            sha256: String::new(),
        served: vec!["deepseek-chat".into()],
            calibration: Some(calibration),
            unparsed: 1,
            failed: 1,
        }],
        data: vec![DataFile { name: "MVP_test.json".into(), sha256: "99".into(), n: 675 }],
        minimum_n: 10,
        calibration: Some(calibration),
        models: models.collect(),
        differences,
        countries,
        cost_usd: Some(1.25),
        files: BTreeMap::new(),
    };
    JudgedFolder { name: "paa".into(), evaluation, verdicts, left_out: vec![] }
}
