//! What a password must be, in the words of Django's validators.

/// The fewest characters.
const SHORTEST: usize = 8;

/// From this likeness on (0 to 1, as Django's default) a password is too much like something about its user.
const ALIKE: f64 = 0.7;

/// The most octets that are compared with something about the user: comparing is for people's passwords.
const COMPARED: usize = 128;

/// Words that passwords are made of again and again. A password is common if it is one of them, with or without digits
/// and marks behind it, or twice one of them.
const COMMON: &[&str] = &[
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "1qazxsw2",
    "a1b2c3d4",
    "aa123456",
    "abc12345",
    "abcd1234",
    "access",
    "admin",
    "administrator",
    "alexander",
    "amanda",
    "andrea",
    "andrew",
    "angel",
    "angela",
    "angels",
    "anthony",
    "apple",
    "arsenal",
    "asdasd",
    "asdf",
    "asdfasdf",
    "asdfgh",
    "asdfghjkl",
    "ashley",
    "asshole",
    "austin",
    "babygirl",
    "badboy",
    "bailey",
    "banana",
    "barcelona",
    "barney",
    "baseball",
    "basketball",
    "batman",
    "beautiful",
    "benjamin",
    "bigdaddy",
    "biteme",
    "blessed",
    "blink182",
    "boomer",
    "brandon",
    "brandy",
    "brooklyn",
    "bubbles",
    "buster",
    "butterfly",
    "butthead",
    "california",
    "cameron",
    "canada",
    "caroline",
    "carolina",
    "champion",
    "changeme",
    "charles",
    "charlie",
    "cheese",
    "chelsea",
    "chester",
    "chicago",
    "chicken",
    "chocolate",
    "chris",
    "christian",
    "christopher",
    "classic",
    "claudia",
    "cocacola",
    "coffee",
    "computer",
    "cookie",
    "corvette",
    "cowboy",
    "cowboys",
    "creative",
    "cristina",
    "crystal",
    "dallas",
    "daniel",
    "danielle",
    "david",
    "default",
    "destiny",
    "diamond",
    "dolphin",
    "dolphins",
    "dragon",
    "eagles",
    "einstein",
    "elephant",
    "elizabeth",
    "eminem",
    "explorer",
    "facebook",
    "falcon",
    "family",
    "fender",
    "ferrari",
    "flower",
    "flowers",
    "football",
    "forever",
    "formula1",
    "freedom",
    "friend",
    "friends",
    "fuckoff",
    "fuckyou",
    "gateway",
    "gandalf",
    "garfield",
    "george",
    "ginger",
    "godzilla",
    "golden",
    "goldfish",
    "google",
    "guest",
    "guitar",
    "gunner",
    "hannah",
    "happy",
    "hardcore",
    "harley",
    "heather",
    "hello",
    "helloworld",
    "hockey",
    "honda",
    "hottie",
    "hunter",
    "iceman",
    "iloveu",
    "iloveyou",
    "internet",
    "jackson",
    "jasmine",
    "jasper",
    "jennifer",
    "jessica",
    "jesus",
    "jonathan",
    "jordan",
    "joseph",
    "joshua",
    "junior",
    "justin",
    "killer",
    "kimberly",
    "knight",
    "lakers",
    "lauren",
    "letmein",
    "liverpool",
    "login",
    "london",
    "love",
    "loveme",
    "lovely",
    "lover",
    "madison",
    "maggie",
    "marina",
    "marlboro",
    "martin",
    "master",
    "matrix",
    "matthew",
    "maverick",
    "melissa",
    "mercedes",
    "merlin",
    "metallica",
    "michael",
    "michelle",
    "mickey",
    "midnight",
    "minecraft",
    "monkey",
    "monster",
    "morgan",
    "mother",
    "motorola",
    "mustang",
    "mynoob",
    "naruto",
    "natasha",
    "nathan",
    "newyork",
    "nicholas",
    "nicole",
    "nothing",
    "oliver",
    "orange",
    "panther",
    "panthers",
    "pass",
    "passport",
    "password",
    "passwort",
    "passw0rd",
    "p4ssw0rd",
    "p4ssword",
    "p@ssw0rd",
    "p@ssword",
    "patricia",
    "patrick",
    "peaches",
    "peanut",
    "pepper",
    "phoenix",
    "pikachu",
    "playboy",
    "pokemon",
    "porsche",
    "power",
    "prince",
    "princess",
    "private",
    "pumpkin",
    "purple",
    "q1w2e3r4",
    "q1w2e3r4t5",
    "qazwsx",
    "qazwsxedc",
    "qweasd",
    "qweasdzxc",
    "qwer",
    "qwerasdf",
    "qwert",
    "qwerty",
    "qwertyui",
    "qwertyuiop",
    "qwertz",
    "rabbit",
    "rachel",
    "raiders",
    "rainbow",
    "ranger",
    "rangers",
    "rebecca",
    "redsox",
    "richard",
    "robert",
    "rockstar",
    "ronaldo",
    "root",
    "samantha",
    "samsung",
    "sandra",
    "scooter",
    "scorpion",
    "secret",
    "secure",
    "security",
    "server",
    "shadow",
    "shannon",
    "silver",
    "simpsons",
    "slipknot",
    "smokey",
    "snickers",
    "snoopy",
    "soccer",
    "softball",
    "sophie",
    "spiderman",
    "spring",
    "starwars",
    "steelers",
    "stephanie",
    "steven",
    "summer",
    "sunflower",
    "sunshine",
    "superman",
    "superstar",
    "sweety",
    "system",
    "taylor",
    "temp",
    "temporary",
    "tennis",
    "test",
    "testing",
    "thomas",
    "thunder",
    "tigger",
    "tinkerbell",
    "trustno1",
    "united",
    "user",
    "vanessa",
    "victoria",
    "viking",
    "welcome",
    "whatever",
    "william",
    "winner",
    "winter",
    "wizard",
    "xbox360",
    "yamaha",
    "yankees",
    "yellow",
    "zaq12wsx",
    "zxcvbn",
    "zxcvbnm",
];

/// What is wrong with a password, in sentences. `about`: what is known of its user, with the word for it. None: nothing.
pub fn problems(password: &str, about: &[(&str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some((what, _)) = about.iter().find(|(_, value)| alike(password, value)) {
        wrong.push(format!("The password is too similar to the {what}."));
    }
    if password.chars().count() < SHORTEST {
        wrong.push(format!("This password is too short. It must contain at least {SHORTEST} characters."));
    }
    if common(password) {
        wrong.push("This password is too common.".to_owned());
    }
    if password.bytes().all(|octet| octet.is_ascii_digit()) {
        wrong.push("This password is entirely numeric.".to_owned());
    }
    wrong
}

fn common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let known = |word: &str| COMMON.contains(&word);
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    let (half, rest) = lower.split_at_checked(lower.len() / 2).unwrap_or_default();
    known(&lower) || known(stem) || (half == rest && known(half)) || runs(&lower)
}

/// Whether each character follows the one before it, or is the same: `aaaaaaaa`, `abcdefgh`, `87654321`.
fn runs(text: &str) -> bool {
    let codes: Vec<i64> = text.chars().map(|c| i64::from(u32::from(c))).collect();
    let mut steps = codes.windows(2).map(|pair| pair[1] - pair[0]);
    let first = steps.next();
    first.is_some_and(|first| (-1..=1).contains(&first) && steps.all(|step| step == first))
}

/// Whether a password is too much like a text about its user, or like a word of it.
fn alike(password: &str, about: &str) -> bool {
    let password = password.to_lowercase();
    let about = about.to_lowercase();
    let words = about.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    password.len() <= COMPARED && words.chain([about.as_str()]).any(|word| likeness(&password, word) >= ALIKE)
}

/// How much two texts are made of the same characters, whatever their order: 0 to 1.
fn likeness(a: &str, b: &str) -> f64 {
    let mut left: Vec<char> = b.chars().collect();
    let total = a.chars().count() + left.len();
    let mut shared = 0_usize;
    for character in a.chars() {
        if let Some(at) = left.iter().position(|other| *other == character) {
            left.swap_remove(at);
            shared += 1;
        }
    }
    if total == 0 { 0.0 } else { 2.0 * shared as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::{COMMON, problems};
    use proptest::prelude::*;

    const SHORT: &str = "This password is too short. It must contain at least 8 characters.";
    const COMMONPLACE: &str = "This password is too common.";
    const NUMERIC: &str = "This password is entirely numeric.";

    #[test]
    fn each_rule_has_its_sentence() {
        let about = [("email", "ann.miller@example.org"), ("first name", "Ann"), ("last name", "Miller")];
        let ask = |password: &str| problems(password, &about).join(" ");
        assert_eq!(ask("correct horse battery"), "");
        assert_eq!(ask("tr0ub4dor&3"), "");
        assert_eq!(ask("kX9-w"), SHORT);
        assert_eq!(ask("password"), COMMONPLACE);
        assert_eq!(ask("Password123!"), COMMONPLACE);
        assert_eq!(ask("monkeymonkey"), COMMONPLACE);
        assert_eq!(ask("abcdefghij"), COMMONPLACE);
        assert_eq!(ask("90817263"), NUMERIC);
        assert_eq!(ask("12345678"), format!("{COMMONPLACE} {NUMERIC}"));
        assert_eq!(ask("1234"), format!("{SHORT} {COMMONPLACE} {NUMERIC}"));
        assert_eq!(ask("ann.miller@example"), "The password is too similar to the email.");
        assert_eq!(ask("amiller1"), "The password is too similar to the email.");
    }

    #[test]
    fn the_list_is_in_lower_case_and_has_nobody_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for word in COMMON {
            assert!(seen.insert(word) && *word == word.to_lowercase(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(password in any::<String>(), about in any::<String>()) {
            let _ = problems(&password, &[("email", &about)]);
        }
    }
}
