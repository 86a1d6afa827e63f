//! Days and months, for accounting periods. UTC: a static program knows no other time zone.

/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Names of the months.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A clock before this was never set: 2025-01-01, older than every release; seconds since 1970-01-01
/// UTC.
pub const CLOCK_SET_S: u64 = 1_735_689_600;

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// The year.
    pub year: u32,
    /// The month, 1 to 12.
    pub month: u32,
    /// The day, 1 to 31.
    pub day: u32,
}

impl Date {
    /// The day of a time, seconds since 1970-01-01 UTC (algorithm: Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms", `civil_from_days`).
    pub fn of(unix_s: u64) -> Date {
        let days = unix_s / DAY_S + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Date { year: part(year), month: part(month), day: part(day) }
    }

    /// When it begins, seconds since 1970-01-01 UTC (`days_from_civil` of the same).
    pub fn start_s(self) -> u64 {
        let [year, month, day] = [self.year, self.month, self.day].map(u64::from);
        let year = year - u64::from(month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era).saturating_sub(719_468) * DAY_S
    }

    /// The first day of the period in which this day is, when periods begin on `reset_day`.
    pub fn period_start(self, reset_day: u8) -> Date {
        let this = Date::reset(self.year, self.month, reset_day);
        if self >= this {
            return this;
        }
        match self.month {
            1 => Date::reset(self.year.saturating_sub(1), 12, reset_day),
            month => Date::reset(self.year, month - 1, reset_day),
        }
    }

    /// The first day of the next period.
    pub fn next_period(self, reset_day: u8) -> Date {
        let start = self.period_start(reset_day);
        match start.month {
            12 => Date::reset(start.year + 1, 1, reset_day),
            month => Date::reset(start.year, month + 1, reset_day),
        }
    }

    /// The day in a month on which periods begin: in a shorter month its last.
    fn reset(year: u32, month: u32, reset_day: u8) -> Date {
        Date { year, month, day: u32::from(reset_day).clamp(1, length(year, month)) }
    }

    /// For people: `1 March`.
    pub fn words(self) -> String {
        let month = MONTHS.get(self.month as usize - 1).copied().unwrap_or_default();
        format!("{} {month}", self.day)
    }
}

fn length(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

impl core::fmt::Display for Date {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl core::str::FromStr for Date {
    type Err = ();
    /// As it is displayed.
    fn from_str(text: &str) -> Result<Date, ()> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().map_err(|_| ()));
        let mut part = || parts.next().unwrap_or(Err(()));
        let date = Date { year: part()?, month: part()?, day: part()? };
        let real = (1..=12).contains(&date.month)
            && (1..=length(date.year, date.month)).contains(&date.day);
        if real { Ok(date) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01"),
            (DAY_S - 1, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date::of(unix_s).to_string(), expected);
        }
        // Every day is the one after the day before, for 200 years.
        let mut before = Date::of(0);
        for day in 1..73_000 {
            let date = Date::of(day * DAY_S);
            let next = match (before.month, before.day == length(before.year, before.month)) {
                (12, true) => Date { year: before.year + 1, month: 1, day: 1 },
                (month, true) => Date { month: month + 1, day: 1, ..before },
                _ => Date { day: before.day + 1, ..before },
            };
            assert_eq!((date, date.start_s()), (next, day * DAY_S));
            before = date;
        }
        for wrong in ["", "2025", "2025-13-01", "2025-02-29", "2025-00-01", "x-1-1", "2025-1-1-1"] {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn periods_begin_on_their_day_or_the_last_of_the_month() {
        for (today, day, start, next) in [
            ("2025-03-01", 1, "2025-03-01", "2025-04-01"),
            ("2025-03-31", 1, "2025-03-01", "2025-04-01"),
            ("2025-03-14", 15, "2025-02-15", "2025-03-15"),
            ("2025-01-14", 15, "2024-12-15", "2025-01-15"),
            ("2025-12-15", 15, "2025-12-15", "2026-01-15"),
            ("2025-02-27", 31, "2025-01-31", "2025-02-28"),
            ("2025-02-28", 31, "2025-02-28", "2025-03-31"),
            ("2025-03-30", 31, "2025-02-28", "2025-03-31"),
            ("2024-02-29", 30, "2024-02-29", "2024-03-30"),
            ("2025-04-30", 31, "2025-04-30", "2025-05-31"),
        ] {
            assert_eq!(date(today).period_start(day).to_string(), start, "{today} {day}");
            assert_eq!(date(today).next_period(day).to_string(), next, "{today} {day}");
        }
        assert_eq!(date("2025-12-01").next_period(1).words(), "1 January");
    }
}
