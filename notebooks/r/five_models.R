# The R side of notebook 8: reads sessions.csv and intervals.csv of this folder, prints five models.
# Run with `Rscript five_models.R > five_models.txt` in this folder; the notebook itself needs no R.
options(digits = 7, width = 100)
suppressMessages({library(lme4); library(lmerTest); library(nlme); library(survival)})
sessions <- read.csv("sessions.csv")
intervals <- read.csv("intervals.csv")

cat("== 1 random slopes: lme4, lmerTest (Satterthwaite)\n")
slopes <- lmer(phq9 ~ session + (1 + session | patient) + (1 | therapist), sessions)
print(coef(summary(slopes)))
print(as.data.frame(VarCorr(slopes)))

cat("== 2 the same test by Kenward and Roger: lmerTest, pbkrtest\n")
print(coef(summary(slopes, ddf = "Kenward-Roger")))

cat("== 3 autoregressive residuals: nlme\n")
serial <- lme(phq9 ~ session, random = ~ session | patient, correlation = corCAR1(form = ~ session | patient),
              data = sessions, na.action = na.omit)
print(summary(serial)$tTable)
print(coef(serial$modelStruct$corStruct, unconstrained = FALSE))

cat("== 4 Cox model, therapists as clusters: survival\n")
cox <- coxph(Surv(start, stop, ending == "dropout") ~ phq9, intervals, cluster = therapist, ties = "efron")
print(summary(cox)$coefficients)

cat("== 5 discrete hazard: glm\n")
hazard <- glm(ending == "dropout" ~ phq9 + stop, binomial, intervals)
print(coef(summary(hazard)))

cat("== versions\n")
cat(R.version.string, "\n")
for (name in c("lme4", "lmerTest", "pbkrtest", "nlme", "survival")) cat(name, as.character(packageVersion(name)), "\n")
