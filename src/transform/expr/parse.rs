//! Parses the texts of steps: a Pratt parser over the tokens of an expression, and the lists of columns, renames,
//! assignments and casts. Knows no columns; paths are resolved later, by `binding.rs`.

use super::ast::{Compare, Computed, ComputedKind, Expr, ExprNode, Literal, Operand, Origin, Test};
use super::cast_type::{CastType, KNOWN_TYPES};
use super::error::Error;
use super::functions::{FUNCTIONS, Function, SPECIAL_FORMS};
use super::like::Pattern;
use super::parse_type::cast_type_of;
use super::parser::{Parser, QUOTE_NAMES, single_quotes_hint};
use super::path::{Path, PathSegment, Quotes};
use super::scan::{Spanned, Token, is_keyword};
use crate::text::nearest;

/// Maximum nesting of parentheses, calls and `not`. Each level is a recursive call, so this bounds the stack.
const MAX_DEPTH: usize = 100;

/// Parses a condition. An error refers to a byte of `text`.
pub fn parse(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(text)?;
    let start = parser.peek().span.start;
    let parsed = parser.expression(0, 0)?;
    parser.expect_end("expected `and`, `or` or end of input")?;
    let node = parser.node_of(parsed, start)?;
    Ok(Expr { text: text.into(), node })
}

/// Parses a list of columns: `a,b,hq.city`.
pub fn parse_names(text: &str) -> Result<Vec<Path>, Error> {
    let mut parser = Parser::of_names(text)?;
    let mut paths = Vec::new();
    loop {
        paths.push(parser.path("expected a column")?);
        if !parser.accept(&Token::Comma) {
            parser.expect_end("expected `,` or end of input").map_err(|error| error.with_hint(QUOTE_NAMES))?;
            return Ok(paths);
        }
    }
}

/// A column of a selection.
#[derive(Clone, Debug)]
pub enum SelectedPath {
    /// The column, or value inside one.
    Path(Path),
    /// All columns that are not selected by name, `*`.
    Rest,
}

/// Parses the columns of a selection: `a,hq.city,*`.
pub fn parse_selection(text: &str) -> Result<Vec<SelectedPath>, Error> {
    let mut parser = Parser::of_names(text)?;
    let mut selected = Vec::new();
    loop {
        let at = parser.peek().span.start;
        if !parser.accept(&Token::Operator(Function::Multiply)) {
            selected.push(SelectedPath::Path(parser.path("expected a column")?));
        } else if selected.iter().any(|selected| matches!(selected, SelectedPath::Rest)) {
            return Err(Error::new(text, at, "`*` is specified twice"));
        } else {
            selected.push(SelectedPath::Rest);
        }
        if !parser.accept(&Token::Comma) {
            parser.expect_end("expected `,` or end of input").map_err(|error| error.with_hint(QUOTE_NAMES))?;
            return Ok(selected);
        }
    }
}

/// Parses renames, `a=b,c=d`, into columns and their new names.
pub fn parse_renames(text: &str) -> Result<Vec<(Path, String)>, Error> {
    let mut parser = Parser::of_names(text)?;
    let mut renames = Vec::new();
    loop {
        let from = parser.path("expected a column")?;
        if !parser.accept(&Token::Compare(Compare::Equal)) {
            return Err(parser.error_here("expected `=` and the new name").with_hint(QUOTE_NAMES));
        }
        let to = parser.path("expected the new name")?;
        if to.segments.iter().any(|segment| matches!(segment, PathSegment::Index(_))) {
            return Err(Error::new(text, to.at, "expected a column name, found a list element"));
        }
        renames.push((from, to.to_string()));
        if !parser.accept(&Token::Comma) {
            parser.expect_end("expected `,` or end of input").map_err(|error| error.with_hint(QUOTE_NAMES))?;
            return Ok(renames);
        }
    }
}

/// Assignment of an expression to a column.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Name of the column.
    pub name: String,
    /// Byte of the text at which the name starts.
    pub at: usize,
    /// Expression of its values.
    pub value: Operand,
}

/// Parses assignments: `name = expression`, several separated by commas.
pub fn parse_assignments(text: &str) -> Result<Vec<Assignment>, Error> {
    let mut parser = Parser::new(text)?;
    let mut assignments = Vec::new();
    loop {
        let to = parser.path("expected the name of the new column")?;
        if to.segments.iter().any(|segment| matches!(segment, PathSegment::Index(_))) {
            return Err(Error::new(text, to.at, "expected a column name, found a list element"));
        }
        if !parser.accept(&Token::Compare(Compare::Equal)) {
            let error = parser.error_here("expected `=` and an expression");
            return Err(error.with_hint("write, for example, `total = price * count`"));
        }
        let value = parser.any_value(0)?;
        assignments.push(Assignment { name: to.to_string(), at: to.at, value });
        if !parser.accept(&Token::Comma) {
            parser.expect_end("expected an operator, `,` or end of input")?;
            return Ok(assignments);
        }
    }
}

/// Parses casts: `column:type`, several separated by commas.
pub fn parse_casts(text: &str) -> Result<Vec<(Path, CastType)>, Error> {
    let mut parser = Parser::new(text)?;
    let mut casts = Vec::new();
    loop {
        let path = parser.path("expected a column")?;
        if !parser.accept(&Token::Colon) {
            return Err(parser.error_here("expected `:` and a type").with_hint(KNOWN_TYPES));
        }
        casts.push((path, parser.cast_type()?));
        if !parser.accept(&Token::Comma) {
            parser.expect_end("expected `,` or end of input")?;
            return Ok(casts);
        }
    }
}

/// Result of parsing: a value, or a condition. Each is converted to the other where the grammar allows.
enum Parsed {
    Value(Operand),
    Truth(ExprNode),
}

/// Binding powers of operators; a higher one binds tighter.
mod power {
    pub(super) const OR: u8 = 1;
    pub(super) const AND: u8 = 2;
    pub(super) const NOT: u8 = 3;
    pub(super) const COMPARE: u8 = 4;
    pub(super) const JOIN: u8 = 5;
    pub(super) const SUM: u8 = 6;
    pub(super) const PRODUCT: u8 = 7;
    pub(super) const SIGN: u8 = 8;
}

impl Parser<'_> {
    /// Parses an expression of operators that bind tighter than `min_binding`.
    fn expression(&mut self, min_binding: u8, depth: usize) -> Result<Parsed, Error> {
        let start = self.peek().span.start;
        if depth > MAX_DEPTH {
            return Err(Error::new(
                self.text,
                start,
                format!("the expression is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        // Prefix operators first; then infix operators as long as they bind tighter than the caller's.
        let mut left = if self.accept_word("not") {
            let at = self.peek().span.start;
            let inner = self.expression(power::NOT, depth + 1)?;
            Parsed::Truth(ExprNode::Not(Box::new(self.node_of(inner, at)?)))
        } else if self.accept(&Token::Operator(Function::Subtract)) {
            let of = self.operand(power::SIGN, depth)?;
            self.computed(ComputedKind::Call(Function::Negate, vec![of]), start)
        } else if self.accept(&Token::Operator(Function::Add)) {
            Parsed::Value(self.operand(power::SIGN, depth)?)
        } else {
            self.primary(depth)?
        };
        loop {
            let (word, binding) = match &self.peek().token {
                Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                    "or" => ("or", power::OR),
                    "and" => ("and", power::AND),
                    // `not` in infix position starts `not in`, `not between`, `not like`.
                    "is" | "in" | "between" | "like" | "ilike" | "not" => ("", power::COMPARE),
                    _ => return Ok(left),
                },
                Token::Compare(_) | Token::Matches { .. } => ("", power::COMPARE),
                Token::Operator(function) => {
                    let (function, binding) = (*function, binding_of(*function));
                    if binding <= min_binding {
                        return Ok(left);
                    }
                    let left_operand = self.operand_of(left, start)?;
                    self.advance();
                    let right = self.operand(binding, depth)?;
                    left = self.computed(ComputedKind::Call(function, vec![left_operand, right]), start);
                    continue;
                }
                _ => return Ok(left),
            };
            if binding <= min_binding {
                // `1 < a < 3`: the right side of a comparison met another comparison.
                if binding == power::COMPARE && min_binding == power::COMPARE {
                    let span = self.peek().span.clone();
                    let error = Error::new(self.text, span.start, "comparisons cannot be chained");
                    return Err(error.with_hint("combine two comparisons with `and`, or write `x between 1 and 2`"));
                }
                return Ok(left);
            }
            left = if word.is_empty() {
                let operand = self.operand_of(left, start)?;
                self.comparison(operand, start, depth)?
            } else {
                let left = self.node_of(left, start)?;
                self.advance();
                let at = self.peek().span.start;
                let right = self.expression(binding, depth + 1)?;
                let right = self.node_of(right, at)?;
                Parsed::Truth(joined(left, right, binding == power::AND))
            };
        }
    }

    /// Parses the test that follows the value `left`: a comparison, `is`, `in`, `between`, or a pattern.
    fn comparison(&mut self, left: Operand, start: usize, depth: usize) -> Result<Parsed, Error> {
        let operator = self.advance();
        // The span of a test ends at the last token that was consumed; reports quote it.
        let test_node = |parser: &Self, test| {
            let end = parser.tokens[parser.next - 1].span.end;
            ExprNode::Test(test, start..end)
        };
        let node = match operator.token {
            Token::Compare(compare) => {
                let right = self.value(depth)?;
                test_node(self, Test::Compare(left, compare, right))
            }
            Token::Matches { negated } => {
                let pattern = self.pattern(Pattern::regex)?;
                negate(negated, test_node(self, Test::Matches(left, pattern)))
            }
            Token::Word(word) => {
                let mut word = word.to_ascii_lowercase();
                let mut negated = false;
                if word == "not" {
                    negated = true;
                    word = match self.peek().token.clone() {
                        Token::Word(word) => word.to_ascii_lowercase(),
                        _ => String::new(),
                    };
                    if !["in", "between", "like", "ilike"].contains(&word.as_str()) {
                        return Err(self.error_here("expected `in`, `between`, `like` or `ilike` after `not`"));
                    }
                    self.advance();
                }
                match word.as_str() {
                    "is" => {
                        negated = self.accept_word("not");
                        if !self.accept_word("null") {
                            let error = self.error_here("expected `null` after `is`");
                            return Err(error.with_hint("use `=` to compare, as in `x = true`"));
                        }
                        negate(negated, test_node(self, Test::IsNull(left)))
                    }
                    "in" => {
                        let list = self.list()?;
                        negate(negated, test_node(self, Test::In(left, list)))
                    }
                    "between" => {
                        let low = self.value(depth)?;
                        if !self.accept_word("and") {
                            return Err(self.error_here("expected `and` between the two bounds"));
                        }
                        let high = self.value(depth)?;
                        // Both bounds are inclusive; null in either makes the test unknown, as in SQL.
                        let from = test_node(self, Test::Compare(left.clone(), Compare::GreaterOrEqual, low));
                        let to = test_node(self, Test::Compare(left, Compare::LessOrEqual, high));
                        negate(negated, ExprNode::And(vec![from, to]))
                    }
                    _ => {
                        let pattern = self.pattern(|text| Pattern::like(text, word == "ilike"))?;
                        negate(negated, test_node(self, Test::Matches(left, pattern)))
                    }
                }
            }
            _ => unreachable!("called at an operator only"),
        };
        Ok(Parsed::Truth(node))
    }

    /// Parses the right side of a comparison.
    fn value(&mut self, depth: usize) -> Result<Operand, Error> {
        self.operand(power::COMPARE, depth)
    }

    /// Parses a value of operators that bind tighter than `min_binding`.
    fn operand(&mut self, min_binding: u8, depth: usize) -> Result<Operand, Error> {
        let start = self.peek().span.start;
        let parsed = self.expression(min_binding, depth + 1)?;
        self.operand_of(parsed, start)
    }

    /// Parses any expression as a value; a condition becomes a boolean.
    fn any_value(&mut self, depth: usize) -> Result<Operand, Error> {
        let start = self.peek().span.start;
        Ok(match self.expression(0, depth + 1)? {
            Parsed::Value(operand) => operand,
            Parsed::Truth(node) => match self.computed(ComputedKind::Truth(node), start) {
                Parsed::Value(operand) => operand,
                Parsed::Truth(_) => unreachable!("`computed` returns a value"),
            },
        })
    }

    /// Parses any expression as a condition.
    fn condition(&mut self, depth: usize) -> Result<ExprNode, Error> {
        let start = self.peek().span.start;
        let parsed = self.expression(0, depth + 1)?;
        self.node_of(parsed, start)
    }

    /// Builds a computed value whose text starts at `start` and ends at the previous token.
    fn computed(&self, kind: ComputedKind, start: usize) -> Parsed {
        let end = self.tokens[self.next.saturating_sub(1)].span.end.max(start);
        Parsed::Value(Operand::Computed(Box::new(Computed { kind, span: start..end })))
    }

    /// Parses a function call. The next tokens are its name and an opening parenthesis.
    fn call(&mut self, depth: usize) -> Result<Parsed, Error> {
        let Spanned { token: Token::Word(word), span } = self.advance() else { unreachable!("called at a word only") };
        let name = word.to_ascii_lowercase();
        self.advance();
        match name.as_str() {
            "cast" => {
                let of = self.any_value(depth)?;
                if !self.accept_word("as") {
                    return Err(self.error_here("expected `as` and a type").with_hint(KNOWN_TYPES));
                }
                let ty = self.cast_type()?;
                self.expect(&Token::Close, "expected `)`")?;
                return Ok(self.computed(ComputedKind::Cast(of, ty), span.start));
            }
            // `date(x, '%d/%m/%Y')` is `cast(x as date('%d/%m/%Y'))`.
            "date" | "timestamp" | "number" => {
                let of = self.any_value(depth)?;
                let ty = cast_type_of(&name).expect("the functions have the names of types");
                let args = if self.accept(&Token::Comma) {
                    self.type_parameters()?
                } else {
                    self.expect(&Token::Close, "expected `,` or `)`")?;
                    Vec::new()
                };
                let ty = self.with_parameters(ty, &args)?;
                return Ok(self.computed(ComputedKind::Cast(of, ty), span.start));
            }
            "source" | "run" | "row_number" => {
                let origin = match name.as_str() {
                    "source" => Origin::Source,
                    "run" => Origin::Run,
                    _ => Origin::RowNumber,
                };
                self.expect(&Token::Close, "expected `)`")?;
                return Ok(self.computed(ComputedKind::Origin(origin), span.start));
            }
            "if" => {
                let condition = self.condition(depth)?;
                self.expect(&Token::Comma, "expected `,` and the value for a true condition")?;
                let yes = self.any_value(depth)?;
                let no = if self.accept(&Token::Comma) { Some(self.any_value(depth)?) } else { None };
                self.expect(&Token::Close, "expected `)`")?;
                return Ok(self.computed(ComputedKind::Case(vec![(condition, yes)], no), span.start));
            }
            "regexp_extract" | "regexp_replace" => {
                let of = self.any_value(depth)?;
                self.expect(&Token::Comma, "expected `,` and a regular expression")?;
                let regex = self.regex()?;
                let kind = if name == "regexp_extract" {
                    let at = self.peek().span.start;
                    // A literal that is not a group number becomes an impossible group, reported below.
                    let group = match self.accept(&Token::Comma).then(|| self.literal()).flatten() {
                        None => 0,
                        Some(Literal::Number(number)) => number.text().parse().unwrap_or(usize::MAX),
                        Some(_) => usize::MAX,
                    };
                    if group >= regex.captures_len() {
                        let message = format!(
                            "capture group out of range: the regular expression has {}",
                            regex.captures_len() - 1
                        );
                        return Err(Error::new(self.text, at, message));
                    }
                    ComputedKind::Extract(of, regex, group)
                } else {
                    self.expect(&Token::Comma, "expected `,` and the replacement")?;
                    let at = self.peek().span.start;
                    match self.literal() {
                        Some(Literal::Text(by)) => {
                            if let Some(group) = unknown_group(&regex, &by) {
                                return Err(self.unknown_group_error(at, &regex, group));
                            }
                            ComputedKind::ReplaceFound(of, regex, by)
                        }
                        _ => return Err(self.error_here("expected text in single quotes")),
                    }
                };
                self.expect(&Token::Close, "expected `)`")?;
                return Ok(self.computed(kind, span.start));
            }
            _ => {}
        }
        // All other functions have a plain argument list.
        let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some(&(_, function, min_args, max_args)) = known else {
            let error = Error::new(self.text, span.start, format!("there is no function `{word}`"));
            let names = || FUNCTIONS.iter().map(|(name, ..)| *name).chain(SPECIAL_FORMS);
            return Err(match nearest(&name, names()) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint(format!("the functions are {}", names().collect::<Vec<_>>().join(", "))),
            });
        };
        let mut args = Vec::new();
        if !self.accept(&Token::Close) {
            loop {
                args.push(self.any_value(depth)?);
                if self.accept(&Token::Close) {
                    break;
                }
                self.expect(&Token::Comma, "expected an operator, `,` or `)`")?;
            }
        }
        if args.len() < min_args || args.len() > max_args {
            let expected = match (min_args, max_args) {
                (min, max) if min == max => format!("{min}"),
                (min, usize::MAX) => format!("at least {min}"),
                (min, max) => format!("{min} to {max}"),
            };
            let message = format!("wrong number of arguments of `{word}`: expected {expected}, found {}", args.len());
            return Err(Error::new(self.text, span.start, message));
        }
        Ok(self.computed(ComputedKind::Call(function, args), span.start))
    }

    /// Returns the error of a replacement text at byte `at` that refers to `group`, which `regex` does not have.
    fn unknown_group_error(&self, at: usize, regex: &regex::Regex, group: &str) -> Error {
        let message = format!(
            "there is no capture group `{group}` for `$` in the replacement: the regular expression has {}",
            regex.captures_len() - 1
        );
        // `$1_USD` refers to a group named `1_USD`; only braces end the name before the text.
        let digits = group.len() - group.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, text) = group.split_at(digits);
        let is_known = number.parse::<usize>().is_ok_and(|number| number < regex.captures_len());
        let hint = if is_known && !text.is_empty() {
            format!("write `${{{number}}}{text}` for group {number} followed by `{text}`, and `$$` for a dollar sign")
        } else {
            "write `$$` for a dollar sign, and `${1}` for a capture group".to_owned()
        };
        Error::new(self.text, at, message).with_hint(hint)
    }

    /// Parses `case when … then … else … end` after the word `case`, which starts at `start`.
    fn case(&mut self, start: usize, depth: usize) -> Result<Parsed, Error> {
        // `case x when 1` compares with `x`; `case when` has conditions.
        let subject = if self.is_word("when") { None } else { Some(self.any_value(depth)?) };
        let mut branches = Vec::new();
        while self.accept_word("when") {
            let at = self.peek().span.start;
            let condition = match &subject {
                None => self.condition(depth)?,
                Some(subject) => {
                    let value = self.any_value(depth)?;
                    // `case x when 1` is `case when x = 1`.
                    let end = self.tokens[self.next - 1].span.end;
                    ExprNode::Test(Test::Compare(subject.clone(), Compare::Equal, value), at..end)
                }
            };
            if !self.accept_word("then") {
                return Err(self.error_here("expected `then` and a value"));
            }
            branches.push((condition, self.any_value(depth)?));
        }
        if branches.is_empty() {
            return Err(self.error_here("expected `when` and a condition"));
        }
        let otherwise = if self.accept_word("else") { Some(self.any_value(depth)?) } else { None };
        if !self.accept_word("end") {
            return Err(self.error_here("expected `when`, `else` or `end`"));
        }
        Ok(self.computed(ComputedKind::Case(branches, otherwise), start))
    }

    /// Returns true at a word `case` that starts a case expression; `case` followed by an operator is a column.
    fn at_case(&self) -> bool {
        let follows = self.tokens.get(self.next + 1).map(|next| &next.token);
        self.is_word("case")
            && match follows {
                Some(Token::Word(word)) => !is_keyword(word) || word.eq_ignore_ascii_case("not"),
                Some(Token::Quoted(..) | Token::Text(_) | Token::Number(_)) => true,
                _ => false,
            }
    }

    /// Parses a regular expression in single quotes.
    fn regex(&mut self) -> Result<regex::Regex, Error> {
        let found = self.peek().clone();
        let Token::Text(pattern) = &found.token else {
            let error = self.error_here("expected a regular expression in single quotes");
            return Err(single_quotes_hint(error, &found.token));
        };
        let compiled = regex::Regex::new(pattern).map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::new(self.text, found.span.start, reason)
        })?;
        self.advance();
        Ok(compiled)
    }

    /// Parses a parenthesized expression, a literal, a `case`, a call, or a path.
    fn primary(&mut self, depth: usize) -> Result<Parsed, Error> {
        if self.accept(&Token::Open) {
            let inner = self.expression(0, depth + 1)?;
            if !self.accept(&Token::Close) {
                return Err(self.error_here("expected `)`"));
            }
            return Ok(inner);
        }
        if let Some(literal) = self.literal() {
            return Ok(Parsed::Value(Operand::Literal(literal)));
        }
        if self.at_case() {
            let start = self.advance().span.start;
            return self.case(start, depth);
        }
        let follows = self.tokens.get(self.next + 1).map(|next| &next.token);
        // A word before a parenthesis is a function; `in (…)` and other keywords are not.
        if let (Token::Word(word), Some(Token::Open)) = (&self.peek().token, follows)
            && !is_keyword(word)
        {
            return self.call(depth);
        }
        Ok(Parsed::Value(Operand::Column(self.path("expected a column or a value")?)))
    }

    /// Parses a literal; `None`, without advancing, if the next token is another.
    fn literal(&mut self) -> Option<Literal> {
        let literal = match &self.peek().token {
            Token::Text(text) => Literal::Text(text.as_str().into()),
            Token::Number(number) => Literal::Number(number.clone()),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                _ => return None,
            },
            _ => return None,
        };
        self.advance();
        Some(literal)
    }

    /// Parses the parenthesized list of literals after `in`.
    fn list(&mut self) -> Result<Vec<Literal>, Error> {
        if !self.accept(&Token::Open) {
            return Err(self.error_here("expected `(` after `in`"));
        }
        let mut list = Vec::new();
        loop {
            match self.literal() {
                Some(literal) => list.push(literal),
                None => {
                    let error = self.error_here("expected a number, text in single quotes, `true`, `false` or `null`");
                    return Err(single_quotes_hint(error, &self.peek().token));
                }
            }
            if self.accept(&Token::Close) {
                return Ok(list);
            }
            if !self.accept(&Token::Comma) {
                return Err(self.error_here("expected `,` or `)`"));
            }
        }
    }

    /// Parses a pattern in single quotes and compiles it by `make`.
    fn pattern(&mut self, make: impl FnOnce(&str) -> Result<Pattern, String>) -> Result<Pattern, Error> {
        let found = self.peek().clone();
        let Token::Text(pattern) = &found.token else {
            let error = self.error_here("expected a pattern in single quotes");
            return Err(single_quotes_hint(error, &found.token));
        };
        let compiled = make(pattern).map_err(|reason| Error::new(self.text, found.span.start, reason))?;
        self.advance();
        Ok(compiled)
    }

    /// Parses a path: `hq.city`, `emails[0]`. `expected` is the message if there is none.
    fn path(&mut self, expected: &str) -> Result<Path, Error> {
        let at = self.peek().span.start;
        let (column, quotes) = self.name(expected)?;
        let mut path = Path { column: column.into(), segments: Vec::new(), quotes, at };
        loop {
            if self.accept(&Token::Dot) {
                let (key, _) = self.name("expected a name after `.`")?;
                path.segments.push(PathSegment::Key(key.into()));
            } else if self.accept(&Token::OpenIndex) {
                let index = match &self.peek().token {
                    Token::Number(number) => number.text().parse().ok(),
                    _ => None,
                };
                let Some(index) = index else {
                    return Err(self.error_here("expected the index of a list element, from 0"));
                };
                self.advance();
                if !self.accept(&Token::CloseIndex) {
                    return Err(self.error_here("expected `]`"));
                }
                path.segments.push(PathSegment::Index(index));
            } else {
                return Ok(path);
            }
        }
    }

    /// Parses a bare or quoted name.
    fn name(&mut self, expected: &str) -> Result<(String, Quotes), Error> {
        let (name, quotes) = match &self.peek().token {
            Token::Word(word) if is_keyword(word) => {
                let error = self.error_here(expected);
                return Err(error.with_hint(format!("put the name of a column in double quotes: \"{word}\"")));
            }
            Token::Word(word) => (word.clone(), Quotes::None),
            Token::Quoted(name, quotes) => (name.clone(), *quotes),
            _ => return Err(self.error_here(expected)),
        };
        self.advance();
        Ok((name, quotes))
    }

    /// Converts to a condition. Fails for literals that are not booleans.
    fn node_of(&self, parsed: Parsed, at: usize) -> Result<ExprNode, Error> {
        match parsed {
            Parsed::Truth(node) => Ok(node),
            Parsed::Value(operand) => {
                if let Operand::Literal(literal @ (Literal::Number(_) | Literal::Text(_))) = &operand {
                    let message = format!("expected a condition, found {}", literal.kind());
                    return Err(Error::new(self.text, at, message));
                }
                let end = self.tokens[self.next.saturating_sub(1)].span.end.max(at);
                Ok(ExprNode::Test(Test::Truth(operand), at..end))
            }
        }
    }

    /// Converts to a value. Fails for conditions, which become values only as arguments.
    fn operand_of(&self, parsed: Parsed, at: usize) -> Result<Operand, Error> {
        match parsed {
            Parsed::Value(operand) => Ok(operand),
            Parsed::Truth(_) => {
                let error = Error::new(self.text, at, "expected a column or a value, found a comparison");
                Err(error
                    .with_hint("combine comparisons with `and` or `or`, or compute a value with `if(a > b, 1, 0)`"))
            }
        }
    }
}

fn joined(left: ExprNode, right: ExprNode, and: bool) -> ExprNode {
    match (left, and) {
        // A chain is one flat list, so that its length does not add to the depth.
        (ExprNode::And(mut nodes), true) => {
            nodes.push(right);
            ExprNode::And(nodes)
        }
        (ExprNode::Or(mut nodes), false) => {
            nodes.push(right);
            ExprNode::Or(nodes)
        }
        (left, true) => ExprNode::And(vec![left, right]),
        (left, false) => ExprNode::Or(vec![left, right]),
    }
}

fn negate(negated: bool, node: ExprNode) -> ExprNode {
    if negated { ExprNode::Not(Box::new(node)) } else { node }
}

/// Returns the first capture group that `replacement` refers to and `regex` lacks; the `regex` crate would replace it by
/// nothing. Reads references as that crate does: `$name` with the longest name, `${name}`, `$$` for a dollar sign; any
/// other `$` is literal.
fn unknown_group<'a>(regex: &regex::Regex, replacement: &'a str) -> Option<&'a str> {
    let mut rest = replacement;
    while let Some(dollar) = rest.find('$') {
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let group = match rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}').map(|(group, _)| group),
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (end > 0).then(|| &rest[..end])
            }
        };
        let Some(group) = group else { continue };
        let is_known = match group.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|name| name == group),
        };
        if !is_known {
            return Some(group);
        }
        rest = rest.strip_prefix('{').unwrap_or(rest).strip_prefix(group).unwrap_or(rest);
    }
    None
}

fn binding_of(function: Function) -> u8 {
    match function {
        Function::Join => power::JOIN,
        Function::Add | Function::Subtract => power::SUM,
        _ => power::PRODUCT,
    }
}
