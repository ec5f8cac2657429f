# Terms of several columns (poly, splines, polynomial contrasts), exactly two denominator df, empty cells:
# type III F tests by lmerTest and pbkrtest, means and joint tests by emmeans, powers by R's own I() and poly().
# Run from this folder: Rscript terms.R   (writes terms.json)
source("common.R")
suppressPackageStartupMessages({
  library(pbkrtest)
  library(emmeans)
  library(splines)
})
tested <- function(formula, data) suppressWarnings(as_lmerModLmerTest(fit_tight(formula, data)$model))
table_of <- function(a) lapply(seq_len(nrow(a)), function(i) list(
  num_df = a[i, "NumDF"], den_df = a[i, "DenDF"], f = a[i, "F value"], p = a[i, "Pr(>F)"]))
both <- function(name, ours, formula, data, kr = TRUE) {
  m <- tested(formula, data)
  list(name = name, formula = ours, deviance = -2 * as.numeric(logLik(m)),
       satterthwaite = table_of(anova(m, type = 3)),
       kenward_roger = if (kr) table_of(anova(m, type = 3, ddf = "Kenward-Roger")))
}
three <- read_data("three_level")
three$phase <- factor(pmin(three$session %/% 5, 2))
split_plot <- read_data("split_plot")
four <- read_data("four_therapists")
empty <- read_data("empty_cell")
models <- list(
  both("three_level", "y ~ poly(session, 2) * arm + (1 | patient)", y ~ poly(session, 2) * arm + (1 | patient), three),
  both("three_level", "y ~ bs(session, df=4) + within + (1 | patient)", y ~ bs(session, df = 4) + within + (1 | patient), three),
  both("three_level", "y ~ C(phase, contr.poly) * within + (1 | patient)",
       y ~ C(phase, contr.poly) * within + (1 | patient), three),
  both("three_level", "y ~ poly(session, 2) : arm + (1 | patient)", y ~ poly(session, 2):arm + (1 | patient), three, FALSE),
  both("three_level", "y ~ session + I(session^2) + (1 | patient)", y ~ session + I(session^2) + (1 | patient), three, FALSE),
  both("split_plot", "y ~ clinic + module + format + (1 | clinic:format)", y ~ clinic + module + format + (1 | clinic:format), split_plot),
  both("four_therapists", "y ~ arm + (1 | therapist)", y ~ arm + (1 | therapist), four)
)
m <- tested(y ~ arm * phase + (1 | patient), empty)
frame_of <- function(e) { t <- as.data.frame(e); t[] <- lapply(t, function(x) if (is.factor(x)) as.character(x) else x); t }
joint <- as.data.frame(joint_tests(m, lmer.df = "kenward-roger"))
means <- list(
  arm = frame_of(emmeans(m, "arm", lmer.df = "kenward-roger")),
  phase = frame_of(emmeans(m, "phase", lmer.df = "kenward-roger")),
  cells = frame_of(emmeans(m, c("arm", "phase"), lmer.df = "kenward-roger")),
  pairs_arm = frame_of(pairs(emmeans(m, "arm", lmer.df = "kenward-roger"), adjust = "none", reverse = TRUE))
)
write_json_file(list(
  versions = versions(c("lme4", "lmerTest", "pbkrtest", "emmeans", "splines")), models = models,
  empty_cell = list(means = means, joint = lapply(seq_len(nrow(joint)), function(i) as.list(joint[i, ])))
), "terms.json")
